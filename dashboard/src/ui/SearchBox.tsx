/** The search box: suggestions come from the server, which knows the language and the values. */
import { useRef, useState } from "react";
import { useSuggestions } from "../api/queries";
import { complete, unfinished } from "../lib/search";
import { Button } from "./controls";
import { Icon } from "./Icon";

export function SearchBox({ value, onSearch, label, placeholder }: {
  value: string;
  onSearch: (text: string) => void;
  label: string;
  placeholder: string;
}) {
  const [text, setText] = useState(value);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(-1);
  const input = useRef<HTMLInputElement>(null);
  const [seen, setSeen] = useState(value);
  if (seen !== value) {
    setSeen(value);
    setText(value);
  }
  const begun = unfinished(text);
  const found = useSuggestions(begun, open).data?.suggestions ?? [];
  const shown = open ? found.filter((one) => one.text !== begun).slice(0, 12) : [];
  const submit = (next: string) => {
    setOpen(false);
    onSearch(next.trim());
  };
  const take = (suggestion: string) => {
    const next = complete(text, suggestion);
    setText(next);
    setAt(-1);
    input.current?.focus();
    if (!suggestion.endsWith(":")) submit(next);
  };
  return (
    <div className="search grow">
      <Icon name="search" size={14} />
      <input
        ref={input}
        id="search"
        className="input mono"
        role="combobox"
        aria-label={label}
        aria-expanded={shown.length > 0}
        aria-controls="search-suggestions"
        aria-activedescendant={shown[at] ? `suggestion-${at}` : undefined}
        placeholder={placeholder}
        autoComplete="off"
        spellCheck={false}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setOpen(true);
          setAt(-1);
        }}
        onFocus={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={(event) => {
          const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
          if (step !== 0 && shown.length > 0) {
            event.preventDefault();
            setAt((at + step + shown.length) % shown.length);
          } else if (event.key === "Tab" && !event.shiftKey && open && begun && shown.length > 0) {
            event.preventDefault();
            take((shown[Math.max(at, 0)] ?? { text: "" }).text);
          } else if (event.key === "Enter") {
            const chosen = shown[at];
            if (chosen) take(chosen.text);
            else submit(text);
          } else if (event.key === "Escape") {
            setOpen(false);
            if (!open) input.current?.blur();
          }
        }}
      />
      <span className="end">
        {text && <Button kind="tiny bare" icon="close" label="Clear the search" onClick={() => { setText(""); submit(""); }} />}
        <kbd className="kbd">/</kbd>
      </span>
      {shown.length > 0 && (
        // What scrolls takes the focus from Tab, and this goes when the box loses it: so it takes none.
        <ul className="suggestions" id="search-suggestions" tabIndex={-1} role="listbox" aria-label="Suggestions">
          {shown.map((one, index) => (
            // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the box above takes the keys
            <li
              key={one.text}
              id={`suggestion-${index}`}
              role="option"
              aria-selected={index === at}
              onMouseDown={(event) => event.preventDefault()}
              onClick={() => take(one.text)}
            >
              <span className="what">{one.text}</span>
              <span className="why">{one.note}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
