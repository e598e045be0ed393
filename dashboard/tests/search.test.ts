import { describe, expect, it } from "vitest";
import { complete, jobsLink, quote, searchFor, terms, unfinished, valuesOf, withValues } from "../src/lib/search";

describe("the search box", () => {
  it("takes terms apart", () => {
    expect(terms('state:queued,running error:"502 Bad" x').map(({ key, values }) => [key, values])).toEqual([
      ["state", ["queued", "running"]],
      ["error", ["502 Bad"]],
      ["", ["x"]],
    ]);
  });

  it("reads what it writes", () => {
    for (const value of ["plain", "two words", 'a "quote"', "back\\slash", "a,b", "", "<img src=x onerror=alert(1)>"]) {
      expect(valuesOf(`error:${quote(value)}`, "error")).toEqual([value]);
    }
  });

  it("sets one qualifier and leaves the others as they were typed", () => {
    expect(withValues('queue:mail state:queued error:"a b"', "state", ["dead_letter"])).toBe(
      'queue:mail error:"a b" state:dead_letter',
    );
    expect(withValues("state:queued queue:mail", "state", [])).toBe("queue:mail");
  });

  it("completes the term that is being typed", () => {
    expect(unfinished("queue:mail sta")).toBe("sta");
    expect(unfinished("queue:mail ")).toBe("");
    expect(complete("queue:mail sta", "state:")).toBe("queue:mail state:");
    expect(complete("queue:mail state:qu", "state:queued")).toBe("queue:mail state:queued ");
  });

  it("leaves out what is not given", () => {
    expect(searchFor({ state: "dead_letter", task: undefined })).toBe("state:dead_letter");
    expect(jobsLink({})).toBe("/jobs");
    expect(jobsLink({ error: "a b" })).toBe("/jobs?q=error%3A%22a%20b%22");
  });
});
