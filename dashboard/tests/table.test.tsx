import { act, cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import { useState } from "react";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { columnsOf, Table, type RowSelectionState } from "../src/ui/Table";
import { Ago } from "../src/ui/Time";

afterEach(cleanup);

interface Line { id: string; text: string; n: number | null }
const one: Line = { id: "1", text: "worker-10", n: 5 };
const two: Line = { id: "2", text: "worker-2", n: 7 };
const three: Line = { id: "3", text: "worker-1", n: null };

const drawn: string[] = [];
const column = columnsOf<Line>();
const COLUMNS = column.columns([
  column.display({
    id: "choose",
    header: ({ table }) => <input type="checkbox" aria-label="all" checked={table.getIsAllRowsSelected()} onChange={table.getToggleAllRowsSelectedHandler()} />,
    cell: ({ row }) => <input type="checkbox" aria-label={`choose ${row.id}`} checked={row.getIsSelected()} onChange={row.getToggleSelectedHandler()} />,
  }),
  column.accessor("text", {
    header: "Text",
    cell: ({ row }) => {
      drawn.push(row.id);
      return <button type="button">{row.original.text}</button>;
    },
  }),
  column.accessor((line) => line.n ?? undefined, { id: "n", header: "Number", sortUndefined: "last", cell: ({ row }) => row.original.n ?? "–" }),
]);

function Lines({ rows, whole = true, hidden }: { rows: Line[]; whole?: boolean; hidden?: string }) {
  const [chosen, setChosen] = useState<RowSelectionState>({});
  return (
    <>
      <Table label="Lines" rows={rows} rowKey={(line) => line.id} columns={COLUMNS} whole={whole} chosen={chosen} onChoose={setChosen} visible={hidden ? { [hidden]: false } : {}} />
      <output>{Object.keys(chosen).toSorted().join()}</output>
    </>
  );
}

const chosen = () => screen.getByRole("status").textContent;
const box = (name: string) => screen.getByRole<HTMLInputElement>("checkbox", { name });
const order = () => screen.getAllByRole("row").slice(1).map((row) => within(row).getByRole("button").textContent);
const head = (name: string) => screen.getByRole("columnheader", { name });
const sortBy = (name: string) => fireEvent.click(within(head(name)).getByRole("button"));

beforeEach(() => {
  drawn.length = 0;
});

describe("a table", () => {
  it("draws a row again when it changed, and leaves its neighbours", () => {
    const shown = render(<Lines rows={[one, two]} />);
    drawn.length = 0;
    shown.rerender(<Lines rows={[one, two]} />);
    expect(drawn).toEqual([]);
    shown.rerender(<Lines rows={[one, { ...two, text: "changed" }]} />);
    expect(drawn).toEqual(["2"]);
    expect(order()).toEqual(["worker-10", "changed"]);
  });

  it("shows no column that is hidden", () => {
    render(<Lines rows={[one, two]} hidden="n" />);
    expect(screen.getAllByRole("columnheader").map((cell) => cell.textContent)).toEqual(["", "Text"]);
    expect(screen.getAllByRole("cell")).toHaveLength(4);
  });
});

describe("choosing rows", () => {
  it("draws the row that is chosen and no other", () => {
    render(<Lines rows={[one, two, three]} />);
    drawn.length = 0;
    fireEvent.click(box("choose 2"));
    expect(drawn).toEqual(["2"]);
    expect(box("choose 2").checked).toBe(true);
    expect(chosen()).toBe("2");
  });

  it("takes all that are here, and keeps what is chosen on another page", () => {
    const shown = render(<Lines rows={[one, two]} />);
    fireEvent.click(box("all"));
    expect(chosen()).toBe("1,2");
    shown.rerender(<Lines rows={[three]} />);
    expect(box("all").checked).toBe(false);
    fireEvent.click(box("all"));
    expect(chosen()).toBe("1,2,3");
    fireEvent.click(box("all"));
    expect(chosen()).toBe("1,2");
  });

  it("takes all from the last one to the one that was clicked with Shift", () => {
    render(<Lines rows={[one, two, three]} />);
    fireEvent.click(box("choose 1"));
    fireEvent.click(box("choose 3"), { shiftKey: true });
    expect(chosen()).toBe("1,2,3");
  });
});

describe("an order by a column", () => {
  it("goes up, down, and back to the order that the rows came in", () => {
    render(<Lines rows={[one, two, three]} />);
    sortBy("Text");
    expect(order()).toEqual(["worker-1", "worker-2", "worker-10"]);
    expect(head("Text").getAttribute("aria-sort")).toBe("ascending");
    sortBy("Text");
    expect(order()).toEqual(["worker-10", "worker-2", "worker-1"]);
    expect(head("Text").getAttribute("aria-sort")).toBe("descending");
    sortBy("Text");
    expect(order()).toEqual(["worker-10", "worker-2", "worker-1"]);
    expect(head("Text").getAttribute("aria-sort")).toBeNull();
  });

  it("begins with the most of a number, and has what is missing at the end both ways", () => {
    render(<Lines rows={[three, one, two]} />);
    sortBy("Number");
    expect(order()).toEqual(["worker-2", "worker-10", "worker-1"]);
    sortBy("Number");
    expect(order()).toEqual(["worker-10", "worker-2", "worker-1"]);
  });

  it("is not offered when there are more rows than these", () => {
    const shown = render(<Lines rows={[one, two]} />);
    sortBy("Text");
    shown.rerender(<Lines rows={[one, two, three]} whole={false} />);
    expect(within(head("Text")).queryByRole("button")).toBeNull();
    expect(head("Text").getAttribute("aria-sort")).toBeNull();
    expect(order()).toEqual(["worker-10", "worker-2", "worker-1"]);
  });

  it("follows the figures, but not while a hand is on the rows", () => {
    const shown = render(<Lines rows={[one, two]} />);
    sortBy("Number");
    expect(order()).toEqual(["worker-2", "worker-10"]);
    const body = screen.getByRole("table").querySelector("tbody") as HTMLElement;
    fireEvent.pointerEnter(body);
    const more = { ...one, n: 9 };
    shown.rerender(<Lines rows={[more, { ...three, n: 8 }, two]} />);
    expect(order()).toEqual(["worker-2", "worker-10", "worker-1"]);
    fireEvent.pointerLeave(body);
    expect(order()).toEqual(["worker-10", "worker-1", "worker-2"]);
  });

  it("follows them again when the focus is elsewhere, or went with its row", () => {
    const shown = render(<Lines rows={[one, two]} />);
    sortBy("Number");
    act(() => screen.getByRole("button", { name: "worker-2" }).focus());
    shown.rerender(<Lines rows={[{ ...one, n: 9 }, two]} />);
    expect(order()).toEqual(["worker-2", "worker-10"]);
    act(() => within(head("Text")).getByRole("button").focus());
    expect(order()).toEqual(["worker-10", "worker-2"]);
    act(() => screen.getByRole("button", { name: "worker-2" }).focus());
    shown.rerender(<Lines rows={[one, three]} />);
    shown.rerender(<Lines rows={[three, { ...one, n: 1 }]} />);
    expect(order()).toEqual(["worker-10", "worker-1"]);
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
