/** Every try of a job: who, when, how long, how it ended, and the traceback. */
import type { ErrorInfo, Job } from "../api/client";
import { between, full, length, time, words } from "../lib/format";
import { Copy } from "../ui/controls";
import { Icon } from "../ui/Icon";
import { Card } from "../ui/parts";
import { Since } from "../ui/Time";

type Attempt = Job["attempts"][number];

const STATE: Record<string, string> = {
  completed: "completed",
  failed: "dead_letter",
  crashed: "dead_letter",
  timed_out: "dead_letter",
  lost: "retry_queued",
  cancelled: "cancelled",
  snoozed: "scheduled",
  released: "queued",
};

export function Attempts({ job }: { job: Job }) {
  const tries = job.attempts.toReversed();
  return (
    <Card title="Attempts" sub={tries.length > 0 ? `${tries.length}` : ""}>
      {tries.length === 0 ? <p className="body faint">No worker has taken it yet.</p> : null}
      {tries.map((attempt, index) => <One key={attempt.epoch} attempt={attempt} open={index === 0} />)}
    </Card>
  );
}

function One({ attempt, open }: { attempt: Attempt; open: boolean }) {
  const line = (
    <>
      <span className="faint">#{attempt.attempt}</span>
      <span className={`state s-${STATE[attempt.outcome ?? ""] ?? "running"}`}><i className="dot" />{words(attempt.outcome ?? "in work")}</span>
      <span className="cut soft">{attempt.error && <><span className="bad">{attempt.error.type || attempt.error.code}</span> {attempt.error.message}</>}</span>
      <span className="cut faint">{attempt.worker}</span>
      <span className="faint nowrap" title={full(attempt.leased_at)}>{time(attempt.leased_at)}</span>
      <span className="right">{attempt.finished_at ? length(between(attempt.started_at ?? attempt.leased_at, attempt.finished_at)) : <Since at={attempt.started_at ?? attempt.leased_at} />}</span>
    </>
  );
  if (!attempt.error) return <div className="attempt"><div className="summary"><span />{line}</div></div>;
  return (
    <details className="attempt" open={open}>
      <summary><span className="turn"><Icon name="right" size={12} /></span>{line}</summary>
      <div className="inside"><Failed error={attempt.error} /></div>
    </details>
  );
}

function Failed({ error }: { error: ErrorInfo }) {
  return (
    <>
      <div className="row">
        <span className="grow"><span className="strong">{error.type || error.code}</span> <span className="soft">{error.message}</span></span>
        {error.traceback && <Copy text={error.traceback} label="Copy the traceback" />}
      </div>
      {error.traceback && (
        <pre className="trace" tabIndex={0} aria-label="Traceback">
          {error.traceback.trimEnd().split("\n").map((text, index) => (
            // eslint-disable-next-line react/no-array-index-key -- a line has no other name
            <span key={index} className={/site-packages|\/lib\/python/.test(text) ? "rest" : /^\S/.test(text) ? "own" : ""}>{text}{"\n"}</span>
          ))}
        </pre>
      )}
    </>
  );
}
