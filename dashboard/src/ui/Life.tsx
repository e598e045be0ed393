/**
 * A job's life, drawn along the state machine: where it was, where it is, where it may go.
 *
 * The places are drawn by hand; which moves there are comes from the one table of the core.
 */
import type { Job } from "../api/client";
import { LEASED, MOVES, STATES, type State } from "../generated/lifecycle";
import { between, length, words } from "../lib/format";

const W = 116;
const H = 44;
const PLACE: Record<State, readonly [number, number]> = {
  blocked: [8, 18],
  scheduled: [8, 84],
  queued: [172, 51],
  assigned: [336, 51],
  running: [500, 51],
  retry_queued: [336, 136],
  completed: [664, 8],
  dead_letter: [664, 72],
  cancelled: [664, 136],
};
/** Moves that are drawn; the rest (a requeue, a release) would only be noise. */
const DRAWN: readonly (readonly [State, State])[] = [
  ["blocked", "queued"],
  ["scheduled", "queued"],
  ["queued", "assigned"],
  ["assigned", "running"],
  ["running", "completed"],
  ["running", "dead_letter"],
  ["running", "cancelled"],
  ["running", "retry_queued"],
  ["retry_queued", "queued"],
];

/** The states that a job has certainly been in, by what its record says. */
export function visited(job: Job): Set<State> {
  const seen = new Set<State>([job.state]);
  if (job.parents.length > 0) seen.add("blocked");
  if (Date.parse(job.run_at) - Date.parse(job.submitted_at) > 1 && job.failed === 0 && job.lost === 0) seen.add("scheduled");
  if (job.attempts.length > 0 || job.attempt > 0) {
    seen.add("queued").add("assigned");
  }
  if (job.attempts.some((attempt) => attempt.started_at) || job.started_at) seen.add("running");
  const failures = job.attempts.filter((attempt) => attempt.outcome === "failed" || attempt.outcome === "timed_out").length;
  if (failures > 1 || (failures === 1 && job.state !== "dead_letter")) seen.add("retry_queued");
  return seen;
}

export function Life({ job }: { job: Job }) {
  const seen = visited(job);
  const notes = times(job);
  return (
    <svg className="life" viewBox="0 0 788 188" role="img" aria-label={`The job is ${words(job.state)}; it was ${[...seen].map(words).join(", ")}`}>
      {DRAWN.filter(([from, to]) => MOVES.some(([a, b]) => a === from && b === to)).map(([from, to]) => (
        <Arrow key={`${from} ${to}`} from={from} to={to} was={seen.has(from) && seen.has(to)} />
      ))}
      {STATES.map((state) => {
        const [x, y] = PLACE[state];
        const on = state === job.state;
        return (
          <g key={state} className={`s-${state} ${on ? "on" : seen.has(state) ? "was" : ""}`}>
            <rect x={x} y={y} width={W} height={H} rx="7" />
            <circle cx={x + 15} cy={y + (notes[state] ? 17 : 22)} r="4" fill={seen.has(state) ? "var(--dot)" : "var(--line-strong)"} />
            <text x={x + 26} y={y + (notes[state] ? 21 : 26)}>{words(state)}</text>
            {notes[state] && <text className="when" x={x + 26} y={y + 36}>{notes[state]}</text>}
          </g>
        );
      })}
    </svg>
  );
}

function Arrow({ from, to, was }: { from: State; to: State; was: boolean }) {
  const [x1, y1] = PLACE[from];
  const [x2, y2] = PLACE[to];
  const on = was ? "was" : "";
  if (from === "running" && to === "retry_queued") {
    return <Path d={`M${x1 + W / 2} ${y1 + H} V${y2 + H / 2 - 8} Q${x1 + W / 2} ${y2 + H / 2} ${x1 + W / 2 - 8} ${y2 + H / 2} H${x2 + W + 5}`} tip={[x2 + W, y2 + H / 2, "left"]} on={on} />;
  }
  if (from === "retry_queued") {
    return <Path d={`M${x1} ${y1 + H / 2} H${x2 + W / 2 + 8} Q${x2 + W / 2} ${y1 + H / 2} ${x2 + W / 2} ${y1 + H / 2 - 8} V${y2 + H + 5}`} tip={[x2 + W / 2, y2 + H, "up"]} on={on} />;
  }
  const [sx, sy, ex, ey] = [x1 + W, y1 + H / 2, x2 - 5, y2 + H / 2];
  const mid = (sx + ex) / 2;
  return <Path d={`M${sx} ${sy} C${mid} ${sy} ${mid} ${ey} ${ex} ${ey}`} tip={[x2, ey, "right"]} on={on} />;
}

function Path({ d, tip: [x, y, way], on }: { d: string; tip: readonly [number, number, "left" | "right" | "up"]; on: string }) {
  const head =
    way === "right" ? `M${x} ${y} l-6 -3.5 v7 z` : way === "left" ? `M${x} ${y} l6 -3.5 v7 z` : `M${x} ${y} l-3.5 6 h7 z`;
  return (
    <>
      <path className={on} d={d} />
      <path className={`head ${on}`} d={head} />
    </>
  );
}

/** A few words under the states that a job has left: how long it was there. */
function times(job: Job): Partial<Record<State, string>> {
  const notes: Partial<Record<State, string>> = {};
  const last = job.attempts.at(-1);
  if (last) notes.queued = waited(job.run_at, last.leased_at);
  if (last?.started_at) notes.assigned = length(between(last.leased_at, last.started_at));
  if (last?.started_at && last.finished_at) notes.running = length(between(last.started_at, last.finished_at));
  if (job.attempts.length > 1) notes.retry_queued = `attempt ${job.attempt}`;
  if (job.finished_at && !LEASED.includes(job.state)) notes[job.state] = `after ${length(between(job.submitted_at, job.finished_at))}`;
  return notes;
}

const waited = (from: string, to: string): string => `waited ${length(Math.max(0, between(from, to) ?? 0))}`;
