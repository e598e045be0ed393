/** Moments relative to the store's clock, ticking once a second for the whole page. */
import { useSyncExternalStore } from "react";
import { brief, full, ms, relative } from "../lib/format";

let skew = 0;
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | null = null;

/** Take the store's clock as the true one. */
export function setStoreClock(moment: string): void {
  skew = ms(moment) - Date.now();
}

export const storeNow = (): number => Date.now() + skew;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = storeNow();
    for (const tell of listeners) tell();
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0 && timer !== null) {
      clearInterval(timer);
      timer = null;
    }
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => {
    if (Math.abs(storeNow() - now) > 1500) now = storeNow();
    return now;
  });
}

export function Ago({ at }: { at: string | null | undefined }) {
  const moment = useNow();
  if (!at) return <span className="faint">–</span>;
  return <time dateTime={at} title={full(at)}>{relative(at, Math.max(moment, 0))}</time>;
}

/** How long something has been going on. */
export function Since({ at }: { at: string }) {
  const moment = useNow();
  return <time dateTime={at} title={full(at)}>{brief(Math.max(0, (moment - ms(at)) / 1000))}</time>;
}
