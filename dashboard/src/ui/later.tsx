/** Components that are fetched when they are wanted, or before. */
import { lazy, useState, type ComponentType } from "react";

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

/** One that was fetched before is there at once; React's own `lazy` shows what stands in for it first, even then. */
export function later<Props extends object>(load: () => Promise<ComponentType<Props>>) {
  let loaded: ComponentType<Props> | null = null;
  const get = async () => (loaded ??= await load());
  const Lazy = lazy(async () => {
    // A server that is away must not take with it what is on the screen: React would show nothing at all.
    for (;;) {
      try {
        return { default: await get() };
      } catch {
        await pause();
      }
    }
  });
  function Later(props: Props) {
    // It stays what it began as: another type would be another component, and lose what was typed into it.
    const [Shown] = useState<ComponentType<Props>>(() => loaded ?? Lazy);
    return <Shown {...props} />;
  }
  /** Get it before it is wanted; where that fails, it is got when it is. */
  const fetch = async () => {
    await get().catch(() => undefined);
  };
  return Object.assign(Later, { fetch });
}
