/** Dialogs: Base UI keeps the focus inside, hides the rest from readers, and gives the focus back. */
import { AlertDialog } from "@base-ui/react/alert-dialog";
import { Dialog as Plain } from "@base-ui/react/dialog";
import { useRef, useState, type ReactNode } from "react";
import { messageOf } from "../api/client";
import { Button, TextField } from "./controls";

interface Props {
  title: string;
  onClose: () => void;
  wide?: boolean;
  /** It asks something that must be answered; readers are told so, and it is read to them at once. */
  alert?: boolean;
  children: ReactNode;
  footer?: ReactNode;
  onSubmit?: () => void;
}

export function Dialog(props: Props) {
  const popup = useRef<HTMLDivElement>(null);
  const close = (open: boolean) => {
    if (!open) props.onClose();
  };
  const frame = (
    <Plain.Portal>
      <Plain.Backdrop className="backdrop" />
      <Plain.Popup ref={popup} className={props.wide ? "dialog wide" : "dialog"} initialFocus={() => popup.current?.querySelector<HTMLElement>("[data-autofocus]") ?? true}>
        <Frame {...props} />
      </Plain.Popup>
    </Plain.Portal>
  );
  if (props.alert) return <AlertDialog.Root open onOpenChange={close}>{frame}</AlertDialog.Root>;
  // A click beside a form must not throw away what was typed.
  return <Plain.Root open onOpenChange={close} disablePointerDismissal>{frame}</Plain.Root>;
}

function Frame({ title, children, footer, onSubmit }: Props) {
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSubmit?.();
      }}
    >
      <header>
        <Plain.Title>{title}</Plain.Title>
        <Plain.Close render={<Button icon="close" kind="bare" label="Close" />} />
      </header>
      <div className="content">{children}</div>
      {footer && <footer>{footer}</footer>}
    </form>
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
      alert
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
      <Plain.Description render={<div />}>{props.children}</Plain.Description>
      {props.reason && (
        <TextField label="Reason" hint="Goes into the audit trail." value={reason} onChange={setReason} first placeholder="Optional" />
      )}
      {props.typed !== undefined && (
        <TextField label={`Type ${props.typed} to go on`} value={typed} onChange={setTyped} first={!props.reason} />
      )}
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
