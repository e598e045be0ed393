import { describe, expect, it } from "vitest";
import { brief, count, lasting, length, percent, plural, relative, short } from "../src/lib/format";

describe("numbers and lengths of time", () => {
  it.each([
    [0, "0 s"], [0.0004, "< 1 ms"], [0.012, "12 ms"], [1.4, "1.4 s"], [42, "42 s"], [200, "3 min 20 s"],
    [3600, "1 h"], [7500, "2 h 5 min"], [356_400, "4 d 3 h"],
  ])("%d seconds are %s", (seconds, text) => expect(length(seconds)).toBe(text));

  it("says nothing about what is not known", () => {
    expect(length(null)).toBe("–");
    expect(percent(null)).toBe("–");
  });

  it.each([[0, "0"], [9_999, "9,999"], [12_345, "12.3k"], [1_234_567, "1.23M"]])("%d is %s", (n, text) =>
    expect(short(n)).toBe(text),
  );

  it("tells the past from the future", () => {
    const now = Date.parse("2030-01-01T12:00:00Z");
    expect(relative("2030-01-01T11:59:48Z", now)).toBe("12 s ago");
    expect(relative("2030-01-01T12:03:00Z", now)).toBe("in 3 min");
    expect(brief(0.4)).toBe("now");
    expect([lasting(-1), lasting(0.4), lasting(61)]).toEqual(["< 1 s", "< 1 s", "1 min"]);
  });

  it("writes shares and counts", () => {
    expect(percent(0.0004)).toBe("< 0.1 %");
    expect(percent(0.051)).toBe("5.1 %");
    expect(percent(0.5)).toBe("50 %");
    expect(count(1_234_567)).toBe("1,234,567");
    expect(plural(1, "job")).toBe("1 job");
    expect(plural(2, "job")).toBe("2 jobs");
  });
});
