/**
 * The first screen's frames, as the server sends them: one stream for the whole page.
 *
 * A browser allows six connections to a server, for all of its tabs together; so a tab that nobody
 * looks at lets go of its stream, and takes it up again when it is looked at.
 */
import { useEffect, useSyncExternalStore } from "react";
import { setStoreClock } from "../ui/Time";
import { onUnauthenticated, read, type Job, type Schemas } from "./client";
import { client } from "./queries";

export type Overview = Schemas["Overview"];
export type Feed = "connecting" | "live" | "polled" | "paused" | "stale" | "lost" | "trouble";

export interface Live {
  feed: Feed;
  overview: Overview | null;
  /** When something was heard last, by this machine's clock. */
  heardAt: number;
  /** Milliseconds of silence; told once they are too many. */
  silent: number;
  /** What the server says about its store, when it cannot serve. */
  trouble: string | null;
}

const STALE = 4_000;
const LOST = 12_000;
const AGAIN = 2_000;
/** Lists are asked for again at most this often, however fast jobs move. */
const LISTS = 2_000;
/** And this often for those who are not told when jobs move: the stream is about the whole store. */
const POLL = 5_000;

let state: Live = { feed: "connecting", overview: null, heardAt: 0, silent: 0, trouble: null };
let source: EventSource | null = null;
let again: ReturnType<typeof setTimeout> | null = null;
let streams = true;
let revision = -1;
let listsAt = 0;
let every = 1_000;
const listeners = new Set<() => void>();

function set(change: Partial<Live>): void {
  state = { ...state, ...change };
  for (const tell of listeners) tell();
}

function open(): void {
  if (source || state.feed === "paused" || document.hidden) return;
  if (!streams) {
    set({ feed: "polled" });
    return;
  }
  const stream = new EventSource("/api/v1/live");
  source = stream;
  stream.addEventListener("overview", (event) => {
    const frame = read(event.data as string) as Schemas["Frame"];
    every = frame.every * 1000;
    setStoreClock(frame.overview.now);
    set({ feed: "live", overview: frame.overview, heardAt: Date.now(), trouble: null });
    refresh(frame.revision);
  });
  stream.addEventListener("trouble", (event) => {
    const { error } = JSON.parse(event.data as string) as Schemas["Error"];
    set({ feed: "trouble", heardAt: Date.now(), trouble: error.message });
  });
  stream.addEventListener("drain", () => reopen());
  stream.addEventListener("error", () => {
    // The browser comes back by itself from a cut, not from an answer that is no stream.
    if (stream.readyState !== EventSource.CLOSED) return;
    reopen();
    // The answer cannot be read here. It may have been that the key was revoked.
    onUnauthenticated.call?.();
  });
}

function reopen(): void {
  close();
  again ??= setTimeout(() => {
    again = null;
    open();
  }, AGAIN);
}

function close(): void {
  source?.close();
  source = null;
}

/** Ask again for what is on the screen, when any job moved. */
function refresh(now: number): void {
  if (now === revision || Date.now() - listsAt < LISTS) return;
  revision = now;
  askAgain();
}

function askAgain(): void {
  listsAt = Date.now();
  void client.invalidateQueries({ predicate: (query) => query.meta?.["live"] === true && query.state.status !== "error" });
}

function look(): void {
  if (document.hidden || state.feed === "paused" || state.feed === "connecting") return;
  if (state.feed === "polled") {
    if (Date.now() - listsAt >= POLL) askAgain();
    return;
  }
  const silent = Date.now() - state.heardAt;
  const feed = silent > LOST + every ? "lost" : silent > STALE + every ? "stale" : null;
  if (feed) set({ feed, silent });
}

export function setPaused(paused: boolean): void {
  if (paused) {
    close();
    set({ feed: "paused" });
  } else {
    set({ feed: "connecting" });
    open();
  }
}

/** Begin, with the stream or without it; returns what ends it. */
export function start(withStream: boolean): () => void {
  streams = withStream;
  const shown = () => {
    if (document.hidden) close();
    else open();
  };
  open();
  const timer = setInterval(look, 1_000);
  document.addEventListener("visibilitychange", shown);
  return () => {
    clearInterval(timer);
    document.removeEventListener("visibilitychange", shown);
    close();
  };
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export const useLive = (): Live => useSyncExternalStore(subscribe, () => state);
export const isPaused = (): boolean => state.feed === "paused";

/** Follow one job while it is on the screen; its record in the cache changes as it does. */
export function useFollow(id: string, active: boolean): void {
  useEffect(() => {
    if (!active) return undefined;
    let stream: EventSource | null = null;
    const change = (with_: (job: Job) => Job) => {
      client.setQueryData<Job>(["job", id], (job) => (job ? with_(job) : job));
    };
    const whole = (event: MessageEvent) => {
      const job = read(event.data as string) as Job;
      client.setQueryData(["job", id], job);
    };
    const begin = () => {
      if (stream || document.hidden || isPaused()) return;
      stream = new EventSource(`/api/v1/jobs/${encodeURIComponent(id)}/events`);
      stream.addEventListener("job", whole);
      stream.addEventListener("end", (event) => {
        whole(event);
        end();
      });
      stream.addEventListener("progress", (event) => {
        const told = JSON.parse(event.data as string) as { progress: number | null; note: string | null };
        change((job) => ({ ...job, progress: told.progress, progress_note: told.note }));
      });
      stream.addEventListener("log", (event) => {
        const line = JSON.parse(event.data as string) as Job["logs"][number];
        change((job) => ({ ...job, logs: [...job.logs, line] }));
      });
    };
    const end = () => {
      stream?.close();
      stream = null;
    };
    const shown = () => (document.hidden ? end() : begin());
    begin();
    document.addEventListener("visibilitychange", shown);
    return () => {
      document.removeEventListener("visibilitychange", shown);
      end();
    };
  }, [id, active]);
}
