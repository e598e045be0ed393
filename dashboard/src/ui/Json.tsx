/** A JSON value as a tree. Text is text: nothing of it is ever read as markup. */
import { useState } from "react";
import { count, plural } from "../lib/format";
import { write } from "../api/client";

const LONG = 2_000;
const MANY = 100;

export function Json({ value, open = 3 }: { value: unknown; open?: number }) {
  return (
    <div className="json">
      <Node value={value} depth={0} open={open} />
    </div>
  );
}

function Node({ name, value, depth, open }: { name?: string | number; value: unknown; depth: number; open: number }) {
  if (value !== null && typeof value === "object") return <Branch name={name} value={value} depth={depth} open={open} />;
  return (
    <div className="leaf">
      <Key name={name} />
      <Leaf value={value} />
    </div>
  );
}

function Branch({ name, value, depth, open }: { name: string | number | undefined; value: object; depth: number; open: number }) {
  const [unfolded, setUnfolded] = useState(depth < open);
  const [shown, setShown] = useState(MANY);
  const list = Array.isArray(value);
  const entries = Object.entries(value as Record<string, unknown>);
  if (entries.length === 0) {
    return (
      <div className="leaf">
        <Key name={name} />
        <span className="dim">{list ? "[ ]" : "{ }"}</span>
      </div>
    );
  }
  return (
    <div>
      <button type="button" className="fold" aria-expanded={unfolded} onClick={() => setUnfolded(!unfolded)}>
        <Key name={name} />
        <span className="dim">{list ? `[ ${plural(entries.length, "item")} ]` : `{ ${plural(entries.length, "key")} }`}</span>
      </button>
      {unfolded && (
        <ul>
          {entries.slice(0, shown).map(([key, one]) => (
            <li key={key}>
              <Node name={list ? Number(key) : key} value={one} depth={depth + 1} open={open} />
            </li>
          ))}
          {entries.length > shown && (
            <li>
              <button type="button" className="fold" onClick={() => setShown(shown + 10 * MANY)}>
                {count(entries.length - shown)} more
              </button>
            </li>
          )}
        </ul>
      )}
    </div>
  );
}

function Key({ name }: { name: string | number | undefined }) {
  return name === undefined ? null : <span className="key">{name}: </span>;
}

function Leaf({ value }: { value: unknown }) {
  const [whole, setWhole] = useState(false);
  if (typeof value === "string") {
    const cut = value.length > LONG && !whole;
    return (
      <span className="text">
        {JSON.stringify(cut ? value.slice(0, LONG) : value)}
        {cut && (
          <button type="button" className="link" onClick={() => setWhole(true)}>
            {" "}… {count(value.length - LONG)} more characters
          </button>
        )}
      </span>
    );
  }
  if (typeof value === "number" || typeof value === "bigint") return <span className="number">{write(value)}</span>;
  return <span className="word">{String(value)}</span>;
}
