/** A field for a text that may be one of those that are known. */
import { Autocomplete } from "@base-ui/react/autocomplete";
import { useState, type ReactNode } from "react";
import { Field } from "./controls";

export function SuggestField(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  known: readonly string[];
  hint?: ReactNode;
  placeholder?: string;
  first?: boolean;
  required?: boolean;
}) {
  const { value } = props;
  const [open, setOpen] = useState(false);
  const wanted = value.toLowerCase();
  // Whoever has written a name out needs no list any more; it would only stand between him and the next field.
  const known = props.known.filter((one) => one !== value && one.toLowerCase().includes(wanted));
  return (
    <Autocomplete.Root items={known} filter={null} value={value} onValueChange={props.onChange} open={open && known.length > 0} onOpenChange={setOpen} openOnInputClick>
      <Field label={props.label} hint={props.hint}>
        {(field) => (
          <Autocomplete.Input
            {...field}
            className="input"
            placeholder={props.placeholder}
            required={props.required}
            data-autofocus={props.first ? "" : undefined}
            spellCheck={false}
          />
        )}
      </Field>
      <Autocomplete.Portal>
        <Autocomplete.Positioner className="over" sideOffset={4}>
          <Autocomplete.Popup className="suggestions">
            <Autocomplete.List aria-label={`${props.label}: known`}>
              {(one: string) => <Autocomplete.Item key={one} value={one}>{one}</Autocomplete.Item>}
            </Autocomplete.List>
          </Autocomplete.Popup>
        </Autocomplete.Positioner>
      </Autocomplete.Portal>
    </Autocomplete.Root>
  );
}
