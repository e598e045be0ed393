/** Dialogs on the browser's own: it keeps the focus inside, closes on Escape, and dims the rest. */
import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import { messageOf } from "../api/client";
import { Button, TextField } from "./controls";

export function Dialog(props: {
  title: string;
  onClose: () => void;
  wide?: boolean;
  children: ReactNode;
  footer?: ReactNode;
  onSubmit?: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const title = useId();
  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    if (element && !element.open) {
      element.showModal();
      element.querySelector<HTMLElement>("[data-autofocus]")?.focus();
    }
    // The browser gives the focus back to where it was when a dialog closes, not when it is removed.
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={title}
      className={props.wide ? "wide" : ""}
      onClose={props.onClose}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          props.onSubmit?.();
        }}
      >
        <header>
          <h2 id={title}>{props.title}</h2>
          <Button icon="close" kind="bare" label="Close" onClick={props.onClose} />
        </header>
        <div className="content">{props.children}</div>
        {props.footer && <footer>{props.footer}</footer>}
      </form>
    </dialog>
  );
}

/** Asks before something is done, takes a reason for the audit trail, and shows what went wrong. */
export function Confirm(props: {
  title: string;
  children: ReactNode;
  action: string;
  danger?: boolean;
  reason?: boolean;
  /** A word to be typed first, for what cannot be undone. */
  typed?: string;
  run: (reason: string) => Promise<unknown>;
  onClose: () => void;
}) {
  const [reason, setReason] = useState("");
  const [typed, setTyped] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const ready = !busy && (props.typed === undefined || typed === props.typed);
  const run = () => {
    if (!ready) return;
    setBusy(true);
    setError(null);
    props.run(reason).then(props.onClose, (problem: unknown) => {
      setError(messageOf(problem));
      setBusy(false);
    });
  };
  return (
    <Dialog
      title={props.title}
      onClose={props.onClose}
      onSubmit={run}
      footer={
        <>
          <Button onClick={props.onClose}>Cancel</Button>
          <Button type="submit" kind={props.danger ? "primary danger" : "primary"} disabled={!ready}>
            {busy ? "Working …" : props.action}
          </Button>
        </>
      }
    >
      <div>{props.children}</div>
      {props.reason && (
        <TextField label="Reason" hint="Goes into the audit trail." value={reason} onChange={setReason} first placeholder="Optional" />
      )}
      {props.typed !== undefined && (
        <TextField label={`Type ${props.typed} to go on`} value={typed} onChange={setTyped} />
      )}
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
