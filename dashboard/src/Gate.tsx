/** Asks for a key where the server wants one, and shows the page to those who have it. */
import { useEffect, useMemo, useRef, useState } from "react";
import { messageOf } from "./api/client";
import { logIn, mayOf, Rights, useMe } from "./api/session";
import { App } from "./App";
import { Button, TextField } from "./ui/controls";

export function Gate() {
  const me = useMe();
  const may = useMemo(() => mayOf(me.data), [me.data]);
  if (me.isPending) return null;
  if (me.data === null) return <LogIn />;
  return <Rights value={may}><App /></Rights>;
}

function LogIn() {
  const [key, setKey] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => form.current?.querySelector<HTMLElement>("[data-autofocus]")?.focus(), []);
  const go = async () => {
    setBusy(true);
    setError(null);
    try {
      await logIn(key.trim());
    } catch (problem) {
      setError(messageOf(problem));
      setBusy(false);
    }
  };
  return (
    <main className="login">
      <form
        ref={form}
        className="card"
        onSubmit={(event) => {
          event.preventDefault();
          if (key.trim() && !busy) void go();
        }}
      >
        <div className="body stack">
          <div className="row strong"><img src="/icon.svg" alt="" width={22} height={22} /><h1 className="login-title">Stoker</h1></div>
          <TextField label="API key" type="password" value={key} onChange={setKey} first required hint="The key is not kept: this browser gets a cookie that no script can read." />
          {error && <p className="form-error" role="alert">{error}</p>}
          <Button kind="primary" type="submit" disabled={busy || !key.trim()}>{busy ? "Looking …" : "Log in"}</Button>
          <p className="faint small">An administrator makes keys:<br /><code>stoker keys create NAME --scope operate</code></p>
        </div>
      </form>
    </main>
  );
}
