import { afterEach, describe, expect, it, vi } from "vitest";
import { address, ApiError, get, post, read, setToken, write } from "../src/api/client";

const answer = (status: number, body: string) => vi.fn(async () => new Response(body, { status }));

afterEach(() => vi.unstubAllGlobals());

describe("addresses", () => {
  it("escapes names and leaves out what is empty", () => {
    expect(address("/api/v1/queues/{name}/pause", { name: "a/b c" })).toBe("/api/v1/queues/a%2Fb%20c/pause");
    expect(address("/api/v1/jobs", {}, { q: "", cursor: null, state: ["queued", "running"] })).toBe(
      "/api/v1/jobs?state=queued&state=running",
    );
  });
});

describe("numbers", () => {
  it("keeps integers that JavaScript cannot hold, where the browser tells how they were written", () => {
    const text = '{"id":12345678901234567890,"small":7,"half":0.5}';
    const value = read(text) as { id: unknown; small: unknown };
    expect(value.small).toBe(7);
    if (typeof value.id === "bigint") expect(value.id).toBe(12345678901234567890n);
    expect(write({ a: 1, b: "x" })).toBe('{"a":1,"b":"x"}');
  });
});

describe("answers", () => {
  it("raises an error by its stable code", async () => {
    vi.stubGlobal("fetch", answer(409, '{"error":{"code":"refused","message":"it runs","details":{"id":"x"}}}'));
    const failed = get("/api/v1/queues");
    await expect(failed).rejects.toBeInstanceOf(ApiError);
    await expect(failed).rejects.toMatchObject({ status: 409, code: "refused", message: "it runs", details: { id: "x" } });
  });

  it("says so when a proxy answers with a page", async () => {
    vi.stubGlobal("fetch", answer(502, "<html>Bad Gateway</html>"));
    await expect(get("/api/v1/queues")).rejects.toMatchObject({ status: 502, code: "unreadable" });
  });

  it("says so when nobody answers", async () => {
    vi.stubGlobal("fetch", vi.fn(() => Promise.reject(new TypeError("Failed to fetch"))));
    await expect(get("/api/v1/queues")).rejects.toMatchObject({ status: 0, code: "unreachable" });
  });

  it("sends the token with changes only", async () => {
    const fetched = vi.fn(async (_url: string, _init: RequestInit) => new Response("{}"));
    vi.stubGlobal("fetch", fetched);
    setToken("secret");
    await get("/api/v1/queues");
    await post("/api/v1/queues/{name}/pause", { path: { name: "mail" } });
    setToken(null);
    const headers = fetched.mock.calls.map(([, init]) => init.headers as Record<string, string>);
    expect(headers[0]?.["x-csrf-token"]).toBeUndefined();
    expect(headers[1]?.["x-csrf-token"]).toBe("secret");
  });
});
