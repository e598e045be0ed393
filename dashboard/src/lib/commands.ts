/** A job as the command or request that would submit it again. */
import { write, type Job } from "../api/client";

/** Quote a word for a POSIX shell. */
export const shell = (text: string): string =>
  text !== "" && /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

export function asCli(job: Job): string {
  const parts = ["stoker", "send", shell(job.task)];
  for (const [key, value] of Object.entries(job.payload as Record<string, unknown>)) {
    parts.push(typeof value === "string" && !value.startsWith("@") ? shell(`${key}=${value}`) : shell(`${key}:=${write(value)}`));
  }
  parts.push("--queue", shell(job.queue));
  if (job.priority !== "medium") parts.push("--priority", job.priority);
  if (job.tenant) parts.push("--tenant", shell(job.tenant));
  return parts.join(" ");
}

export function asCurl(job: Job, origin: string): string {
  const body: Record<string, unknown> = {
    task: job.task,
    payload: job.payload,
    queue: job.queue,
    priority: job.priority,
    max_retries: job.max_retries,
  };
  if (job.tenant) body["tenant"] = job.tenant;
  return `curl -X POST ${shell(`${origin}/api/v1/jobs`)} -H 'Content-Type: application/json' -d ${shell(write(body))}`;
}
