/** Who works: how fresh its heartbeat, what it runs; drain and stop. */
import { useState } from "react";
import { Link } from "wouter";
import { post, request, type Job, type Worker } from "../api/client";
import { useJobs, useRefresh, useWorkers } from "../api/queries";
import { brief, count, length, ms, percent, plural } from "../lib/format";
import { jobsLink, searchFor } from "../lib/search";
import { Button, Dot, Meter, Pill, Segments, StateBadge } from "../ui/controls";
import { Confirm } from "../ui/Dialog";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { columnsOf, Table } from "../ui/Table";
import { Ago, Since, useNow } from "../ui/Time";
import { toast } from "../ui/toast";
import { Fleets } from "./Fleets";

type Ask = { kind: "drain" | "stop" | "remove"; worker: Worker };
const GONE = new Set(["left", "dead"]);

export function Workers() {
  const [which, setWhich] = useState<"now" | "all">("now");
  const list = useWorkers(which === "all");
  const running = useJobs("state:assigned,running", null, 200);
  const [ask, setAsk] = useState<Ask | null>(null);
  const workers = list.data?.workers ?? [];
  const living = workers.filter((worker) => !GONE.has(worker.state));
  const slots = living.reduce((sum, worker) => sum + worker.concurrency, 0);
  const busy = living.reduce((sum, worker) => sum + worker.busy, 0);
  return (
    <Page
      title="Workers"
      sub={list.data && `${plural(living.length, "worker")}, ${count(busy)} of ${count(slots)} slots in use`}
      actions={<Segments label="Which workers" value={which} options={[["now", "Living"], ["all", "Last day"]]} onChange={setWhich} />}
    >
      <Fleets ended={which === "all"} />
      {list.isLoadingError ? <Card><Failure error={list.error} retry={() => void list.refetch()} /></Card> : list.isPending ? <Card><Bones /></Card> : workers.length === 0 ? (
        <Card><Empty icon="workers" title="No worker lives"><code>stoker worker</code></Empty></Card>
      ) : (
        workers.map((worker) => (
          <One key={worker.id} worker={worker} jobs={(running.data?.jobs ?? []).filter((job) => job.worker === worker.name && !GONE.has(worker.state))} onAsk={(kind) => setAsk({ kind, worker })} />
        ))
      )}
      {ask && <Question {...ask} onClose={() => setAsk(null)} />}
    </Page>
  );
}

function One({ worker, jobs, onAsk }: { worker: Worker; jobs: readonly Job[]; onAsk: (kind: Ask["kind"]) => void }) {
  const now = useNow();
  const gone = GONE.has(worker.state);
  const left = (ms(worker.expires_at) - now) / 1000;
  const whole = (ms(worker.expires_at) - ms(worker.seen_at)) / 1000;
  const tone = gone ? "off" : left < 0 ? "bad" : left < whole / 2 ? "warn" : "good";
  return (
    <Card
      title={<span className="row"><Dot tone={tone} />{worker.name}</span>}
      sub={<span className="row wrap">
        {worker.state !== "alive" && <Pill tone={worker.state === "dead" ? "bad" : worker.state === "draining" ? "warn" : ""}>{worker.state}</Pill>}
        {worker.command && !gone && <Pill tone="warn">told to {worker.command}</Pill>}
        <span>{worker.kind} {worker.version} · {worker.host} · pid {worker.pid}</span>
      </span>}
      end={!gone && (
        <>
          {left < 0 ? (
            <Button needs="delete /api/v1/workers/{worker}" kind="tiny danger" onClick={() => onAsk("remove")} aria-label={`Declare ${worker.name} dead`}>Declare dead</Button>
          ) : (
            <>
              <Button needs="post /api/v1/workers/{worker}/drain" kind="tiny" disabled={worker.state === "draining"} onClick={() => onAsk("drain")} aria-label={`Drain ${worker.name}`}>Drain</Button>
              <Button needs="post /api/v1/workers/{worker}/stop" kind="tiny danger" icon="stop" onClick={() => onAsk("stop")} aria-label={`Stop ${worker.name}`}>Stop</Button>
            </>
          )}
        </>
      )}
    >
      <div className="body stack">
        <div className="figures">
          <Fact name="Heartbeat">{gone ? <Ago at={worker.seen_at} /> : left < 0 ? <span className="bad">silent for <Since at={worker.seen_at} /></span> : <Ago at={worker.seen_at} />}</Fact>
          <Fact name="Slots in use"><span className="row">{worker.busy} / {worker.concurrency}<Meter share={worker.concurrency ? worker.busy / worker.concurrency : 0} /></span></Fact>
          <Fact name="Up for">{gone ? length(Math.round((ms(worker.seen_at) - ms(worker.started_at)) / 1000)) : brief((now - ms(worker.started_at)) / 1000)}</Fact>
          <Fact name="Queues"><span className="cut" title={worker.queues.join(", ")}>{worker.queues.join(", ") || "all"}</span></Fact>
          <Fact name="Tasks"><span title={worker.tasks.join(", ")}>{worker.tasks.length}</span></Fact>
          <Fact name="Jobs"><Link className="link" href={jobsLink({ worker: worker.name })}>all of its jobs</Link></Fact>
        </div>
        {jobs.length > 0 && (
          <div>
            <Table bare label={`Jobs on ${worker.name}`} rows={jobs.slice(0, SHOWN)} rowKey={(job) => job.id} columns={JOBS} />
            {jobs.length > SHOWN && <Link className="link small" href={`/jobs?q=${encodeURIComponent(searchFor({ worker: worker.name }))}`}>{jobs.length - SHOWN} more</Link>}
          </div>
        )}
      </div>
    </Card>
  );
}

const SHOWN = 20;
const column = columnsOf<Job>();
const JOBS = column.columns([
  column.display({ id: "state", header: "State", meta: { className: "tight" }, cell: ({ row }) => <StateBadge state={row.original.state} /> }),
  column.display({ id: "task", header: "Task", meta: { className: "tight" }, cell: ({ row: { original: job } }) => <Link className="cell strong" href={`/jobs/${job.id}`}>{job.task}</Link> }),
  column.display({ id: "progress", header: "Progress", meta: { className: "fill" }, cell: ({ row: { original: job } }) => job.progress !== null && <span className="row"><Meter share={job.progress} /><span className="soft cut">{percent(job.progress)} {job.progress_note}</span></span> }),
  column.display({ id: "since", header: "In work for", meta: { className: "num" }, cell: ({ row: { original: job } }) => job.started_at && <Since at={job.started_at} /> }),
]);

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return <div><div className="name faint small">{name}</div><div className="cut">{children}</div></div>;
}

function Question({ kind, worker, onClose }: Ask & { onClose: () => void }) {
  const refresh = useRefresh();
  const path = { worker: worker.id };
  const run = async () => {
    const { answer } = await (kind === "drain" ? post("/api/v1/workers/{worker}/drain", { path }) : kind === "stop" ? post("/api/v1/workers/{worker}/stop", { path }) : request("delete", "/api/v1/workers/{worker}", { path }));
    // One that was heard meanwhile is not dead: it drains.
    toast(answer === "removed" ? `${worker.name} was declared dead` : kind === "stop" ? `${worker.name} was told to stop` : `${worker.name} drains`);
    refresh("workers", "jobs");
  };
  const text = {
    drain: ["Drain", "It finishes what it runs, takes nothing new, and leaves. A supervisor may start another one."],
    stop: ["Stop", "It interrupts what it runs, gives it back uncounted, and leaves."],
    remove: ["Declare dead", "It has been silent past its time to live. Its jobs are taken back and run elsewhere; if it wakes, it can settle nothing."],
  }[kind] as [string, string];
  return (
    <Confirm title={`${text[0]} ${worker.name}`} action={text[0]} danger={kind !== "drain"} onClose={onClose} run={run}>
      {text[1]}
    </Confirm>
  );
}
