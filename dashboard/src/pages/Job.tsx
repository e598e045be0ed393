/** One job: where it is, why, what it did, and what can be done about it. */
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { ApiError, post, request, write, type Job } from "../api/client";
import { useFollow } from "../api/live";
import { useExplanation, useJob, useRefresh } from "../api/queries";
import { useMay } from "../api/session";
import { LEASED, LIVE, TERMINAL } from "../generated/lifecycle";
import { asCli, asCurl } from "../lib/commands";
import { full, length, percent, plural, tail, time, words } from "../lib/format";
import { jobsLink } from "../lib/search";
import { Button, Copy, Meter, Pill, StateBadge } from "../ui/controls";
import { Icon } from "../ui/Icon";
import { Json } from "../ui/Json";
import { Life } from "../ui/Life";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { Ago } from "../ui/Time";
import { toast } from "../ui/toast";
import { Confirm, RetryWith, Submit } from "./asked";
import { Attempts } from "./Attempts";

type Open = "cancel" | "retry" | "edit" | "duplicate" | "delete" | null;

export function JobPage({ id }: { id: string }) {
  const job = useJob(id);
  if (job.isPending) return <Page title="Job"><Card><Bones rows={8} /></Card></Page>;
  const absent = job.error instanceof ApiError && job.error.code === "job_not_found";
  if (absent || job.isLoadingError) {
    return (
      <Page title="Job">
        <Card>
          {absent ? <Empty title="No such job">It never was, or it was deleted: ended jobs are purged when they are old.</Empty> : <Failure error={job.error} retry={() => void job.refetch()} />}
        </Card>
      </Page>
    );
  }
  return <Shown job={job.data} />;
}

function Shown({ job }: { job: Job }) {
  const [open, setOpen] = useState<Open>(null);
  const live = LIVE.includes(job.state);
  useFollow(job.id, live);
  return (
    <Page
      title={job.task}
      sub={<span className="row"><StateBadge state={job.state} />{job.cancel_requested && live && <Pill tone="warn">told to stop</Pill>}<span className="mono">{tail(job.id)}</span></span>}
      actions={<Actions job={job} setOpen={setOpen} />}
    >
      <Why job={job} />
      <div className="cols roomy">
        <div className="span-8 stack">
          <Card><div className="body table-box"><Life job={job} /></div></Card>
          {LEASED.includes(job.state) && <ProgressCard job={job} />}
          <Attempts job={job} />
          <Logs job={job} />
        </div>
        <div className="span-4 stack">
          <Facts job={job} />
          <Value title="Payload" value={job.payload} />
          {(job.result !== null || job.state === "completed") && <Value title="Result" value={job.result} />}
        </div>
      </div>
      <Dialogs job={job} open={open} close={() => setOpen(null)} />
    </Page>
  );
}

function Actions({ job, setOpen }: { job: Job; setOpen: (open: Open) => void }) {
  const ended = TERMINAL.includes(job.state);
  const cli = asCli(job);
  return (
    <>
      <Copy kind="" text={cli} label="Copy as a stoker command">CLI</Copy>
      <Copy kind="" text={asCurl(job, location.origin)} label="Copy as a curl command">curl</Copy>
      <Button needs="post /api/v1/jobs" icon="edit" onClick={() => setOpen("duplicate")}>Duplicate</Button>
      {/* All stay where they are: a job that ends must not put another button under the hand. */}
      {!job.workflow_id && <Button needs="delete /api/v1/jobs/{job_id}" icon="trash" kind="danger" disabled={LEASED.includes(job.state)} onClick={() => setOpen("delete")}>Delete</Button>}
      <Button needs="post /api/v1/jobs/{job_id}/cancel" icon="close" kind="danger" disabled={ended} onClick={() => setOpen("cancel")}>Cancel the job</Button>
      <Button needs="post /api/v1/jobs/{job_id}/retry" disabled={!ended} onClick={() => setOpen("edit")}>Retry with changes</Button>
      <Button needs="post /api/v1/jobs/{job_id}/retry" icon="retry" kind="primary" disabled={!ended} onClick={() => setOpen("retry")}>Retry</Button>
    </>
  );
}

function Dialogs({ job, open, close }: { job: Job; open: Open; close: () => void }) {
  const refresh = useRefresh();
  const [, go] = useLocation();
  const path = { job_id: job.id };
  const done = (text: string) => {
    toast(text);
    refresh("job", "jobs", "explain", "count");
  };
  switch (open) {
    case "cancel":
      return (
        <Confirm
          title="Cancel this job" action="Cancel the job" danger reason onClose={close}
          run={async (reason) => {
            const { answer } = await post("/api/v1/jobs/{job_id}/cancel", { path, body: { reason } });
            done(answer === "requested" ? "Its worker was told to stop it" : "Cancelled");
          }}
        >
          {LEASED.includes(job.state) ? "It runs: its worker is told, and the job ends when it obeys." : "It will not run."}
        </Confirm>
      );
    case "retry":
      return (
        <Confirm
          title="Retry this job" action="Retry" reason onClose={close}
          run={async (reason) => {
            await post("/api/v1/jobs/{job_id}/retry", { path, body: { reason } });
            done("It will run again");
          }}
        >
          It runs again with the same payload; its counters of failures begin at zero, its attempts stay.
        </Confirm>
      );
    case "delete":
      return (
        <Confirm
          title="Delete this job" action="Delete" danger onClose={close}
          run={async () => {
            await request("delete", "/api/v1/jobs/{job_id}", { path });
            go("/jobs");
            toast("Deleted");
            refresh("jobs", "count");
          }}
        >
          The job, its attempts, log lines and result are gone for good.
        </Confirm>
      );
    case "edit":
      return <RetryWith job={job} onClose={close} onDone={() => done("It will run again")} />;
    case "duplicate":
      return <Submit from={job} onClose={close} />;
    default:
      return null;
  }
}

/** What stands in the way of a job that waits; what killed one that is dead. */
function Why({ job }: { job: Job }) {
  const waits = LIVE.includes(job.state) && job.state !== "running";
  const may = useMay();
  const { data } = useExplanation(job.id, waits && may("get /api/v1/jobs/{job_id}/explain"));
  if (waits && data) {
    return (
      <div className={`explain ${data.blockers.length > 0 ? "" : "calm"}`} role="status">
        <Icon name="alert" />
        <div>
          <div className="strong">{data.summary}</div>
          {data.blockers.length > 1 && <ul>{data.blockers.slice(1).map((one) => <li key={one.code}>{one.message}</li>)}</ul>}
        </div>
      </div>
    );
  }
  return null;
}

function ProgressCard({ job }: { job: Job }) {
  return (
    <Card>
      <div className="body progress" role="status">
        <div className="row">
          <span className="strong">{job.progress === null ? "In work" : percent(job.progress)}</span>
          <span className="soft grow cut">{job.progress_note}</span>
          <span className="faint">on {job.worker}</span>
        </div>
        <Meter share={job.progress ?? 0} />
      </div>
    </Card>
  );
}

function Logs({ job }: { job: Job }) {
  return (
    <Card title="Log" sub={job.logs.length > 0 ? plural(job.logs.length, "line") : ""}>
      {job.logs.length === 0 ? (
        <p className="body faint">The task logged nothing.</p>
      ) : (
        <ul className="logs" tabIndex={0} aria-label="Log lines">
          {job.logs.map((line, index) => (
            // eslint-disable-next-line react/no-array-index-key -- a line has no other name
            <li key={index}>
              <time dateTime={line.at} title={full(line.at)}>{time(line.at)}</time>
              <span className="n" title={`Attempt ${line.attempt}`}>#{line.attempt}</span>
              <span className="text">{line.message}</span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function Facts({ job }: { job: Job }) {
  const rows: [string, React.ReactNode][] = [
    ["Id", <span key="id" className="row"><code className="grow">{job.id}</code><Copy text={job.id} label="Copy the id" /></span>],
    ["Queue", <Link key="q" className="link" href={jobsLink({ queue: job.queue })}>{job.queue}</Link>],
    ["Priority", job.priority],
    ["Attempt", `${job.attempt}, ${job.failed} failed of at most ${job.max_retries + 1}${job.lost ? `, ${job.lost} lost` : ""}`],
    ["Submitted", <Moment key="s" at={job.submitted_at} />],
    ["Due", <Moment key="d" at={job.run_at} />],
  ];
  const add = (name: string, value: React.ReactNode) => {
    if (value) rows.push([name, value]);
  };
  add("Started", job.started_at && <Moment at={job.started_at} />);
  add("Ended", job.finished_at && <Moment at={job.finished_at} />);
  add("Worker", job.worker && <Link className="link" href={jobsLink({ worker: job.worker })}>{job.worker}</Link>);
  add("Timeout", job.timeout !== null && length(job.timeout));
  add("Expires", job.expires_at && <Moment at={job.expires_at} />);
  add("Tenant", job.tenant && <Link className="link" href={jobsLink({ tenant: job.tenant })}>{job.tenant}</Link>);
  add("Unique key", job.unique_key && <code>{job.unique_key}</code>);
  add("Schedule", job.schedule && <Link className="link" href={jobsLink({ schedule: job.schedule })}>{job.schedule}</Link>);
  add("Workflow", job.workflow_id && <Link className="link" href={`/workflows/${job.workflow_id}`}>{job.node ?? words("a node")} of {tail(job.workflow_id)}</Link>);
  add("Parents", job.parents.length > 0 && <Parents job={job} />);
  return (
    <Card title="Facts">
      <dl className="body facts">
        {rows.map(([name, value]) => [<dt key={`${name} t`}>{name}</dt>, <dd key={name}>{value}</dd>])}
      </dl>
    </Card>
  );
}

const SHOWN = 8;

function Parents({ job }: { job: Job }) {
  const more = job.parents.length - SHOWN;
  return (
    <span className="row wrap">
      {job.state === "blocked" && <span>waits for {job.waiting_for} of {job.parents.length}:</span>}
      {job.parents.slice(0, SHOWN).map((id) => <Link key={id} className="link mono" href={`/jobs/${id}`} title={id}>{tail(id)}</Link>)}
      {more > 0 && <span className="faint">and {more} more</span>}
    </span>
  );
}

const Moment = ({ at }: { at: string }) => <span title={full(at)}>{full(at)} <span className="faint">· <Ago at={at} /></span></span>;

function Value({ title, value }: { title: string; value: unknown }) {
  return (
    <Card title={title} end={<Copy text={write(value, 2)} label={`Copy the ${title.toLowerCase()}`} />}>
      <div className="body"><Json value={value} /></div>
    </Card>
  );
}
