import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import type { Job } from "../src/api/client";
import { asCli, asCurl, shell } from "../src/lib/commands";
import { buckets } from "../src/ui/Chart";
import { Json } from "../src/ui/Json";
import { Life, visited } from "../src/ui/Life";
import { skeleton } from "../src/pages/Submit";
import { layout } from "../src/pages/Workflow";

afterEach(cleanup);

const job = (change: Partial<Job> = {}): Job => ({
  id: "019a0000-0000-7000-8000-000000000001", task: "invoice.send", queue: "mail", priority: "medium", state: "queued",
  attempt: 0, max_retries: 3, payload: {} as Job["payload"], result: null, error: null, progress: null, progress_note: null,
  submitted_at: "2030-01-01T12:00:00Z", run_at: "2030-01-01T12:00:00Z", started_at: null, finished_at: null, failed: 0, lost: 0,
  worker: null, deadline_at: null, timeout: null, soft_timeout: null, expires_at: null, unique_key: null, tenant: null,
  workflow_id: null, node: null, parents: [], waiting_for: 0, schedule: null, cancel_requested: false, retry: {} as Job["retry"],
  attempts: [], logs: [], ...change,
});
const attempt = (change: Partial<Job["attempts"][number]>): Job["attempts"][number] => ({
  attempt: 1, epoch: 1, worker: "w", leased_at: "2030-01-01T12:00:01Z", started_at: "2030-01-01T12:00:02Z",
  finished_at: "2030-01-01T12:00:03Z", outcome: "failed", error: null, ...change,
});

describe("a job's life", () => {
  it("was only where it is, before anybody took it", () => {
    expect([...visited(job())]).toEqual(["queued"]);
  });

  it("came back from a failure", () => {
    const seen = visited(job({ state: "completed", attempt: 2, failed: 1, attempts: [attempt({}), attempt({ attempt: 2, epoch: 2, outcome: "completed" })] }));
    expect([...seen].toSorted()).toEqual(["assigned", "completed", "queued", "retry_queued", "running"]);
  });

  it("never waited for a retry when its first failure was its last", () => {
    expect(visited(job({ state: "dead_letter", attempt: 1, failed: 1, attempts: [attempt({})] })).has("retry_queued")).toBe(false);
  });

  it("is told to those who cannot see the drawing", () => {
    render(<Life job={job({ state: "dead_letter" })} />);
    expect(screen.getByRole("img", { name: /The job is dead letter/ })).toBeTruthy();
  });
});

describe("copying a job", () => {
  it("quotes for a shell", () => {
    expect(shell("it's; rm -rf /")).toBe(`'it'\\''s; rm -rf /'`);
    expect(shell("plain-1.2")).toBe("plain-1.2");
    expect(shell("")).toBe("''");
  });

  it("tells texts from other values", () => {
    const payload = { to: "a@b.c", n: 3, list: ["x"], file: "@secret" } as unknown as Job["payload"];
    expect(asCli(job({ payload, priority: "high" }))).toBe(
      `stoker send invoice.send to=a@b.c n:=3 'list:=["x"]' 'file:="@secret"' --queue mail --priority high`,
    );
    expect(asCurl(job({ payload: {} as Job["payload"] }), "http://x")).toContain(`-d '{"task":"invoice.send"`);
  });
});

const minute = (at: string) => ({ minute_at: at, submitted: 3, completed: 2, failed: 1 });

describe("figures", () => {
  it("puts minutes into buckets without losing one inside the window", () => {
    const now = Date.parse("2030-01-01T12:00:30Z");
    const [x, both, completed] = buckets([minute("2030-01-01T11:30:00Z"), minute("2030-01-01T12:00:00Z"), minute("2030-01-01T08:00:00Z")], now, 3600);
    expect(x).toHaveLength(60);
    expect(both?.at(-1)).toBe(3);
    expect((completed as number[]).reduce((a, b) => a + b, 0)).toBe(4);
  });
});

describe("a value as a tree", () => {
  it("shows markup as text", () => {
    render(<Json value={{ "<b>key</b>": "<img src=x onerror=alert(1)>" }} />);
    expect(document.querySelector("img, b")).toBeNull();
    expect(screen.getByText(/onerror/)).toBeTruthy();
  });
});

describe("a workflow's layout", () => {
  it("puts children to the right of their parents", () => {
    const places = layout([{ id: "a" }, { id: "b" }, { id: "c" }], [{ from: "a", to: "b" }, { from: "b", to: "c" }]);
    const x = ["a", "b", "c"].map((id) => places.get(id)?.x ?? NaN);
    expect(x).toEqual([...x].toSorted((one, other) => one - other));
    expect(new Set(x).size).toBe(3);
  });
});

describe("the payload of a new job", () => {
  it("begins with what its task needs, as the server describes it", () => {
    const properties = { key: { type: "string" }, widths: { type: "array" }, quality: { type: "integer" } };
    const $defs = { Arguments: { type: "object", properties, required: ["key", "widths"] } };
    expect(skeleton({ $ref: "#/$defs/Arguments", $defs })).toEqual({ key: "", widths: [] });
    expect(skeleton({ properties, required: ["quality"] })).toEqual({ quality: 0 });
  });
});
