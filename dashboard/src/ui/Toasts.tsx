/** Where messages are shown: they stay while somebody points at them, F6 leads there, a swipe sends them away. */
import { Toast } from "@base-ui/react/toast";
import { useEffect } from "react";
import { showMessages, type Message } from "./toast";

const SHOWN = 4;
const STAYS: Record<Message["tone"], number> = { good: 4_000, bad: 9_000 };

export function Toasts() {
  return (
    <Toast.Provider limit={SHOWN}>
      <Toast.Portal>
        <Toast.Viewport className="toasts"><List /></Toast.Viewport>
      </Toast.Portal>
    </Toast.Provider>
  );
}

function List() {
  const { toasts, add } = Toast.useToastManager();
  useEffect(() => showMessages(({ text, tone }) => void add({ title: text, type: tone, timeout: STAYS[tone] })), [add]);
  // They hold nothing to press: to a reader they are texts of a live region, no dialogs.
  return toasts.map((toast) => (
    <Toast.Root key={toast.id} toast={toast} className="toast" role="group">
      <i className={`dot s-${toast.type}`} />
      <Toast.Title render={<span />} />
    </Toast.Root>
  ));
}
