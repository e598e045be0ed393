import { cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import { OneFleet, type Fleet } from "../src/pages/Fleets";

afterEach(cleanup);

const soon = new Date(Date.now() + 30_000).toISOString();
const kind = (change: Partial<Fleet["kinds"][number]> = {}): Fleet["kinds"][number] => ({
  name: "mail", program: "python", queues: ["mail"], concurrency: 4, min: 1, max: 3, is_changed: false, start_within: 5,
  wanted: 2, ready: 2, is_failing: false, reason: "1 was enough for 30 s", ...change,
});
const worker = (change: Partial<Fleet["workers"][number]>): Fleet["workers"][number] => ({
  name: "mill-mail-1", kind: "mail", state: "ready", pid: 7, started_at: new Date().toISOString(), restarts: 0, quick_deaths: 0, last_exit: null, ...change,
});
const fleet = (change: Partial<Fleet> = {}): Fleet => ({
  id: "f1", name: "mill", host: "mars", pid: 6, version: "1", state: "alive", started_at: soon, seen_at: soon, expires_at: soon,
  kinds: [kind()], workers: [worker({})], ...change,
});

describe("a fleet", () => {
  it("shows its kinds, and says which bounds were changed and which kind cannot run", () => {
    const shown = fleet({ kinds: [kind(), kind({ name: "image", program: "stoker-worker-c", is_changed: true, is_failing: true, ready: 0, queues: [] })] });
    render(<OneFleet fleet={shown} onAsk={() => {}} />);
    const rows = within(screen.getByRole("table", { name: "Kinds of workers in fleet mill" })).getAllByRole("row");
    expect(rows[1]?.textContent).toContain("2 / 2");
    expect(rows[1]?.textContent).not.toContain("changed");
    for (const text of ["image", "stoker-worker-c", "cannot run", "changed", "all"]) expect(rows[2]?.textContent).toContain(text);
  });

  it("puts workers in trouble first, with how the one before ended", () => {
    const trouble = worker({ name: "mill-mail-2", state: "backing_off", pid: null, started_at: null, quick_deaths: 4, restarts: 4, last_exit: "ended with exit code 3" });
    render(<OneFleet fleet={fleet({ workers: [worker({}), trouble] })} onAsk={() => {}} />);
    const rows = within(screen.getByRole("table", { name: "Workers of fleet mill" })).getAllByRole("row");
    for (const text of ["mill-mail-2", "backing off", "ended with exit code 3, 4 times in a row"]) expect(rows[1]?.textContent).toContain(text);
    expect(rows[2]?.textContent).toContain("ready");
  });

  it("asks before anything is done", () => {
    const asked: string[] = [];
    render(<OneFleet fleet={fleet()} onAsk={(ask) => asked.push(ask.act)} />);
    for (const name of ["Scale mail of fleet mill", "Reload fleet mill", "Drain fleet mill", "Stop fleet mill"]) fireEvent.click(screen.getByRole("button", { name }));
    expect(asked).toEqual(["scale", "reload", "drain", "stop"]);
  });

  it("that drains can still be stopped, and nothing else", () => {
    render(<OneFleet fleet={fleet({ state: "draining" })} onAsk={() => {}} />);
    expect(screen.queryByRole("button", { name: /^Scale/ })).toBeNull();
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Drain fleet mill" }).disabled).toBe(true);
    expect(screen.getByRole<HTMLButtonElement>("button", { name: "Stop fleet mill" }).disabled).toBe(false);
  });

  it("that is gone or silent cannot be told anything", () => {
    render(<OneFleet fleet={fleet({ state: "left" })} onAsk={() => {}} />);
    render(<OneFleet fleet={fleet({ expires_at: new Date(Date.now() - 60_000).toISOString() })} onAsk={() => {}} />);
    expect(screen.queryAllByRole("button")).toEqual([]);
    expect(screen.getByText("silent")).toBeTruthy();
  });
});
