/** The search box: suggestions come from the server, which knows the language and the values. */
import { Autocomplete } from "@base-ui/react/autocomplete";
import { useRef, useState, type KeyboardEvent } from "react";
import type { Schemas } from "../api/client";
import { useSuggestions } from "../api/queries";
import { complete, unfinished } from "../lib/search";
import { Button } from "./controls";
import { Icon } from "./Icon";

type Suggestion = Schemas["Suggestion"];
const SHOWN = 12;

export function SearchBox({ value, onSearch, label, placeholder }: {
  value: string;
  onSearch: (text: string) => void;
  label: string;
  placeholder: string;
}) {
  const [text, setText] = useState(value);
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState<Suggestion | undefined>();
  const box = useRef<HTMLFormElement>(null);
  const [seen, setSeen] = useState(value);
  if (seen !== value) {
    setSeen(value);
    setText(value);
  }
  const begun = unfinished(text);
  const found = useSuggestions(begun, open).data?.suggestions ?? [];
  const shown = open ? found.filter((one) => one.text !== begun).slice(0, SHOWN) : [];
  const submit = (next: string) => {
    setOpen(false);
    onSearch(next.trim());
  };
  /** Whoever takes a qualifier goes on with its values; a value ends the search. */
  const take = (next: string) => {
    setText(next);
    if (!next.endsWith(":")) submit(next);
  };
  const press = (event: KeyboardEvent<HTMLInputElement>) => {
    if (event.key === "Escape" && !open) event.currentTarget.blur();
    if (event.key !== "Tab" || event.shiftKey || !begun || !shown[0]) return;
    event.preventDefault();
    take(complete(text, (at ?? shown[0]).text));
  };
  return (
    <Autocomplete.Root
      items={shown}
      filter={null}
      value={text}
      itemToStringValue={(one: Suggestion) => complete(text, one.text)}
      onValueChange={(next, { reason }) => {
        // The library clears the box on Escape; here Escape leaves it, and the text stays.
        if (reason === "item-press") take(next);
        else if (reason !== "escape-key") setText(next);
        if (reason === "input-change") setOpen(true);
      }}
      open={shown.length > 0}
      onOpenChange={(next, { reason }) => {
        if (reason !== "item-press") setOpen(next);
      }}
      onItemHighlighted={setAt}
      highlightItemOnHover={false}
    >
      <form
        ref={box}
        className="search grow"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          submit(text);
        }}
      >
        <Icon name="search" size={14} />
        <Autocomplete.Input id="search" className="input mono" aria-label={label} placeholder={placeholder} spellCheck={false} onFocus={() => setOpen(true)} onKeyDown={press} />
        <span className="end">
          {text && <Button kind="tiny bare" icon="close" label="Clear the search" onClick={() => { setText(""); submit(""); }} />}
          <kbd className="kbd">/</kbd>
        </span>
      </form>
      <Autocomplete.Portal>
        <Autocomplete.Positioner className="over" anchor={box} sideOffset={4}>
          <Autocomplete.Popup className="suggestions">
            <Autocomplete.List aria-label="Suggestions">
              {(one: Suggestion) => (
                <Autocomplete.Item key={one.text} value={one}>
                  <span className="what">{one.text}</span>
                  <span className="why">{one.note}</span>
                </Autocomplete.Item>
              )}
            </Autocomplete.List>
          </Autocomplete.Popup>
        </Autocomplete.Positioner>
      </Autocomplete.Portal>
    </Autocomplete.Root>
  );
}
