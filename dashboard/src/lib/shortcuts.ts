/** Keys that do something while nobody types: `j`, `g j`, `mod+k`. */
import { useEffect, useRef } from "react";

const PAUSE = 900;
/** A dialog, or the place of one that is being fetched: keys are for it. */
const SPEAKS = "[role=dialog], [role=alertdialog], [data-coming]";

const typing = (target: EventTarget | null): boolean =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) &&
  !(target instanceof HTMLInputElement && target.type === "checkbox");

export function useShortcuts(keys: Record<string, () => void>): void {
  const latest = useRef(keys);
  useEffect(() => {
    latest.current = keys;
  });
  useEffect(() => {
    let before = "";
    let at = -PAUSE;
    const press = (event: KeyboardEvent) => {
      if (event.altKey || event.isComposing) return;
      const mod = event.ctrlKey || event.metaKey;
      if (mod) {
        run(latest.current[`mod+${event.key.toLowerCase()}`], event);
        return;
      }
      if (typing(event.target) || document.querySelector(SPEAKS)) return;
      // The hand's time, not the page's: a busy page hears both keys late.
      const pair = event.timeStamp - at < PAUSE ? latest.current[`${before} ${event.key}`] : undefined;
      before = event.key;
      at = event.timeStamp;
      run(pair ?? latest.current[event.key], event);
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}

function run(action: (() => void) | undefined, event: KeyboardEvent): void {
  if (!action) return;
  event.preventDefault();
  action();
}
