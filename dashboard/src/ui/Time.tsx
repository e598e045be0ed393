/** Moments relative to the store's clock, ticking once a second for the whole page. */
import { useSyncExternalStore } from "react";
import { full, lasting, ms, relative } from "../lib/format";

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

function ticked(): number {
  if (Math.abs(storeNow() - now) > 1500) now = storeNow();
  return now;
}

export const useNow = (): number => useSyncExternalStore(subscribe, ticked);

/** A text that tells the time: drawn again when it changes, and not with each second. */
const useTelling = (tell: (now: number) => string): string => useSyncExternalStore(subscribe, () => tell(ticked()));

export function Ago({ at }: { at: string | null | undefined }) {
  return at ? <Told at={at} tell={(present) => relative(at, Math.max(present, 0))} /> : <span className="faint">–</span>;
}

/** How long something has been going on. */
export function Since({ at }: { at: string }) {
  return <Told at={at} tell={(present) => lasting((present - ms(at)) / 1000)} />;
}

function Told({ at, tell }: { at: string; tell: (now: number) => string }) {
  const text = useTelling(tell);
  return <time dateTime={at} title={full(at)}>{text}</time>;
}
