/** Buttons, fields and the small things that stand in rows. */
import { useId, useState, type ComponentProps, type ReactNode } from "react";
import { useMay, type Deed } from "../api/session";
import type { State } from "../generated/lifecycle";
import { words } from "../lib/format";
import { Icon, type IconName } from "./Icon";

interface ButtonProps extends ComponentProps<"button"> {
  icon?: IconName;
  kind?: string;
  /** For a button without text. */
  label?: string;
  /** What it asks of the server: who may not, does not see it. */
  needs?: Deed;
}

export function Button({ icon, kind = "", label, needs, children, ...rest }: ButtonProps) {
  const may = useMay();
  if (needs !== undefined && !may(needs)) return null;
  const only = children === undefined ? " icon" : "";
  return (
    <button type="button" className={`button ${kind}${only}`} aria-label={children === undefined ? label : undefined} title={label} {...rest}>
      {icon && <Icon name={icon} size={14} />}
      {children}
    </button>
  );
}

export function StateBadge({ state, label }: { state: State; label?: string }) {
  const waits = state === "blocked" || state === "scheduled" || state === "retry_queued";
  return (
    <span className={`state s-${state}`}>
      <i className={waits ? "dot hollow" : "dot"} />
      {label ?? words(state)}
    </span>
  );
}

export function Dot({ tone }: { tone: "good" | "warn" | "bad" | "off" }) {
  return <i className={`dot s-${tone}`} />;
}

export function Pill({ tone = "", children }: { tone?: "" | "good" | "warn" | "bad"; children: ReactNode }) {
  return <span className={`pill ${tone}`}>{children}</span>;
}

export function Segments<T extends string>(props: {
  label: string;
  value: T;
  options: readonly (readonly [T, ReactNode])[];
  onChange: (value: T) => void;
}) {
  return (
    <div className="segments" role="group" aria-label={props.label}>
      {props.options.map(([value, text]) => (
        <button key={value} type="button" aria-pressed={value === props.value} onClick={() => props.onChange(value)}>
          {text}
        </button>
      ))}
    </div>
  );
}

/** What a field hands to its input, so that a reader hears its name and its hint. */
interface Wiring {
  id: string;
  "aria-describedby": string | undefined;
}

export function Field(props: { label: string; hint?: ReactNode; children: (wiring: Wiring) => ReactNode }) {
  const id = useId();
  const hint = `${id}-hint`;
  return (
    <div className="field">
      <label className="label" htmlFor={id}>{props.label}</label>
      {props.children({ id, "aria-describedby": props.hint ? hint : undefined })}
      {props.hint && <span className="hint" id={hint}>{props.hint}</span>}
    </div>
  );
}

export function TextField(props: {
  label: string;
  value: string;
  onChange: (value: string) => void;
  hint?: ReactNode;
  placeholder?: string;
  type?: string;
  first?: boolean;
  required?: boolean;
}) {
  return (
    <Field label={props.label} hint={props.hint}>
      {(field) => (
        <input
          {...field}
          className="input"
          type={props.type ?? "text"}
          value={props.value}
          placeholder={props.placeholder}
          required={props.required}
          data-autofocus={props.first ? "" : undefined}
          autoComplete="off"
          spellCheck={false}
          onChange={(event) => props.onChange(event.target.value)}
        />
      )}
    </Field>
  );
}

/** Copies a text, and says so for a moment. */
export function Copy({ text, label, children, kind = "tiny bare" }: { text: string; label: string; children?: ReactNode; kind?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1200);
  };
  return (
    <Button kind={kind} icon={done ? "check" : "copy"} label={label} onClick={() => void copy()}>
      {children}
    </Button>
  );
}

export function Meter({ share, tone = "running" }: { share: number; tone?: string }) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return (
    <span className={`meter s-${tone}`}>
      <svg viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
        <rect width={width} height="6" fill="var(--dot)" />
      </svg>
    </span>
  );
}
