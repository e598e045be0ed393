/** How long jobs waited and ran: percentiles over a sample of those that ended last. */
import type { Job } from "../api/client";
import { between } from "./format";

export const SHARES = [50, 95, 99] as const;

/** Seconds from due to leased, of the last attempt: what it was due for is not kept for the others. */
export function startDelay(job: Job): number | null {
  const last = job.attempts.at(-1);
  const waited = between(job.run_at, last?.leased_at);
  return waited === null ? null : Math.max(0, waited);
}

/** Seconds from started to settled, of the last attempt. */
export const runTime = (job: Job): number | null => {
  const last = job.attempts.at(-1);
  return between(last?.started_at, last?.finished_at);
};

/** The nearest-rank percentiles of what is known; null without anything. */
export function percentiles(values: readonly (number | null)[]): (number | null)[] {
  const known = values.filter((value) => value !== null).toSorted((a, b) => a - b);
  return SHARES.map((share) => known[Math.max(0, Math.ceil((share / 100) * known.length) - 1)] ?? null);
}
