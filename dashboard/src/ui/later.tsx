/** Components that are fetched when they are wanted, or before. */
import { useEffect, useState, type ComponentType, type ReactNode } from "react";

const PAUSE = 1_000;
const pause = () => new Promise((resume) => setTimeout(resume, PAUSE));

/** A moment in which the page has nothing else to do; not every browser tells. */
const idle = () => new Promise<unknown>((go) => ("requestIdleCallback" in window ? window.requestIdleCallback(go) : setTimeout(go)));

/** Fetch some one after the other, each while nothing else is to be done: a click that comes meanwhile need not wait. */
export async function fetchSoon(some: readonly { fetch: () => Promise<void> }[]): Promise<void> {
  for (const one of some) {
    await idle();
    await one.fetch();
  }
}

/**
 * One that was fetched is there at once; another one as soon as it came, and `standIn` until then. React's own `lazy` shows
 * its stand-in even for what is there already, and then for a third of a second.
 */
export function later<Props extends object>(load: () => Promise<ComponentType<Props>>, standIn: ReactNode = null) {
  let loaded: ComponentType<Props> | null = null;
  const get = async () => (loaded ??= await load());
  function Later(props: Props) {
    const [Shown, setShown] = useState<ComponentType<Props> | null>(() => loaded);
    useEffect(() => {
      if (Shown) return undefined;
      let wanted = true;
      const bring = async () => {
        const one = await get().catch(() => null);
        if (one && wanted) setShown(() => one);
        if (one || !wanted) return;
        // A server that is away must not take with it what is on the screen.
        await pause();
        await bring();
      };
      void bring();
      return () => {
        wanted = false;
      };
    }, [Shown]);
    return Shown ? <Shown {...props} /> : standIn;
  }
  /** Get it before it is wanted; where that fails, it is got when it is. */
  const fetch = async () => {
    await get().catch(() => undefined);
  };
  return Object.assign(Later, { fetch });
}
