import { act, cleanup, render } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Table, type Column } from "../src/ui/parts";
import { Ago } from "../src/ui/Time";

afterEach(cleanup);

interface Line { id: string; text: string }
const one: Line = { id: "1", text: "first" };
const two: Line = { id: "2", text: "second" };

describe("a table", () => {
  const drawn: string[] = [];
  const cell: Column<Line>["cell"] = (line, chosen) => {
    drawn.push(line.id);
    return `${line.text}${chosen ? " chosen" : ""}`;
  };
  const table = (rows: Line[], chosen: ReadonlySet<string>, cells = cell, head = "Text") => (
    <Table label="Lines" rows={rows} rowKey={(line) => line.id} isChosen={(line) => chosen.has(line.id)} columns={[{ key: "text", head, cell: cells }]} />
  );

  it("draws a row again when it changed, and leaves its neighbours", () => {
    const shown = render(table([one, two], new Set()));
    drawn.length = 0;
    shown.rerender(table([one, two], new Set(), cell, "Another head"));
    expect(drawn).toEqual([]);
    shown.rerender(table([one, { id: "2", text: "changed" }], new Set()));
    expect(drawn).toEqual(["2"]);
    expect(shown.container.textContent).toContain("changed");
  });

  it("draws the row that is chosen, and all when what they show is another thing", () => {
    const shown = render(table([one, two], new Set()));
    drawn.length = 0;
    shown.rerender(table([one, two], new Set(["1"])));
    expect(drawn).toEqual(["1"]);
    expect(shown.container.textContent).toContain("first chosen");
    shown.rerender(table([one, two], new Set(["1"]), (line) => `${line.id}!`));
    expect(shown.container.textContent).toContain("1!2!");
  });
});

describe("a moment", () => {
  it("tells how long ago it was as time goes on", () => {
    vi.useFakeTimers({ now: Date.parse("2030-01-01T00:00:10Z") });
    try {
      const shown = render(<Ago at="2030-01-01T00:00:00Z" />);
      const before = shown.container.textContent;
      act(() => void vi.advanceTimersByTime(5_000));
      expect(shown.container.textContent).toMatch(/^15 s ago$/);
      expect(before).toBe("10 s ago");
    } finally {
      vi.useRealTimers();
    }
  });
});
