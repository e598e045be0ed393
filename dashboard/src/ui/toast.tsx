/** Short messages in the corner: what was done, and what could not be done. */
import { useEffect, useSyncExternalStore } from "react";
import { messageOf } from "../api/client";

interface Toast {
  id: number;
  text: string;
  tone: "good" | "bad";
}

let shown: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(toasts: readonly Toast[]): void {
  shown = toasts;
  for (const listener of listeners) listener();
}

export function toast(text: string, tone: Toast["tone"] = "good"): void {
  set([...shown.slice(-3), { id: next++, text, tone }]);
}

/** Do something, say that it was done, or why not. */
export async function tell(work: Promise<unknown>, done: string): Promise<boolean> {
  try {
    await work;
    toast(done);
    return true;
  } catch (error) {
    toast(messageOf(error), "bad");
    return false;
  }
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Toasts() {
  const toasts = useSyncExternalStore(subscribe, () => shown);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((one) => <One key={one.id} toast={one} />)}
    </div>
  );
}

function One({ toast: { id, text, tone } }: { toast: Toast }) {
  useEffect(() => {
    const timer = setTimeout(() => set(shown.filter((one) => one.id !== id)), tone === "bad" ? 9000 : 4000);
    return () => clearTimeout(timer);
  }, [id, tone]);
  return (
    <div className="toast">
      <i className={`dot s-${tone}`} />
      <span>{text}</span>
    </div>
  );
}
