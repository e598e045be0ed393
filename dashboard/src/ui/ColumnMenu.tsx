/** Which columns of a table are shown; kept in this browser. */
import { Popover } from "@base-ui/react/popover";
import { useState } from "react";
import { keep, kept } from "../lib/kept";
import { Button } from "./controls";
import type { ColumnVisibilityState } from "./Table";

/** The columns that somebody does not want, and what changes that. */
export function useHidden(key: string) {
  const [hidden, setHidden] = useState(() => new Set(kept(key)?.split(" ").filter(Boolean)));
  const turn = (column: string) => {
    const next = new Set(hidden);
    if (!next.delete(column)) next.add(column);
    keep(key, [...next].join(" "));
    setHidden(next);
  };
  return [hidden, turn] as const;
}

export const without = (hidden: ReadonlySet<string>): ColumnVisibilityState =>
  Object.fromEntries(Array.from(hidden, (column) => [column, false]));

export function ColumnMenu(props: {
  columns: readonly (readonly [string, string])[];
  hidden: ReadonlySet<string>;
  onTurn: (column: string) => void;
}) {
  return (
    <Popover.Root>
      <Popover.Trigger render={<Button kind="wide-only">Columns</Button>} />
      <Popover.Portal>
        <Popover.Positioner className="over" sideOffset={4} align="end">
          <Popover.Popup className="menu" aria-label="Columns">
            {props.columns.map(([id, name]) => (
              <label key={id} className="row">
                <input type="checkbox" checked={!props.hidden.has(id)} onChange={() => props.onTurn(id)} />
                {name}
              </label>
            ))}
          </Popover.Popup>
        </Popover.Positioner>
      </Popover.Portal>
    </Popover.Root>
  );
}
