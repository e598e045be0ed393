/** The lanes: how full, how old, how fast; pause, resume, limit, empty. */
import { useState } from "react";
import { Link } from "wouter";
import { post, request, type Queue, type Schemas } from "../api/client";
import { useActivity, useQueues, useRefresh } from "../api/queries";
import { useMay } from "../api/session";
import { count, length, short } from "../lib/format";
import { jobsLink } from "../lib/search";
import { Spark } from "../ui/Chart";
import { Button, Meter, Pill, TextField } from "../ui/controls";
import { Confirm, Dialog } from "../ui/Dialog";
import { Bones, Card, Empty, Failure, Page, Table } from "../ui/parts";
import { tell } from "../ui/toast";
import { Age, Num } from "./Overview";

type Series = Schemas["Series"];
const WINDOW = 1_800;
const BUSY = (queue: Queue) => (queue.counts["assigned"] ?? 0) + (queue.counts["running"] ?? 0);
const WAITING = (queue: Queue) =>
  (queue.counts["blocked"] ?? 0) + (queue.counts["scheduled"] ?? 0) + (queue.counts["retry_queued"] ?? 0);

export function Queues() {
  const list = useQueues(true);
  const may = useMay();
  const activity = useActivity("queue", WINDOW, may("get /api/v1/activity"));
  const [open, setOpen] = useState<{ kind: "limit" | "purge"; queue: Queue } | null>(null);
  const refresh = useRefresh();
  const series = new Map(activity.data?.series.map((one) => [one.name, one]));
  const queues = list.data?.queues ?? [];
  const turn = (queue: Queue) =>
    tell(
      post(queue.paused ? "/api/v1/queues/{name}/resume" : "/api/v1/queues/{name}/pause", { path: { name: queue.name } }),
      queue.paused ? `${queue.name} goes on` : `${queue.name} is paused: what runs goes on, nothing new is taken`,
    ).then(() => refresh("queues"));
  return (
    <Page title="Queues" sub={list.data && `${queues.length}`}>
      <Card>
        {list.isLoadingError ? <Failure error={list.error} retry={() => void list.refetch()} /> : list.isPending ? <Bones /> : queues.length === 0 ? (
          <Empty icon="queues" title="No queue yet">A queue is made by the first job that is submitted to it.</Empty>
        ) : (
          <Table
            label="Queues"
            rows={queues}
            rowKey={(queue) => queue.name}
            columns={[
              { key: "name", head: "Queue", className: "fill", cell: (q) => <div className="row"><Link className="cell strong cut" href={jobsLink({ queue: q.name })}>{q.name}</Link>{q.paused && <Pill tone="warn">paused</Pill>}</div> },
              { key: "spark", head: "Last 30 min", className: "tight wide-only", cell: (q) => <Line series={series.get(q.name)} name={q.name} /> },
              { key: "queued", head: "Queued", className: "num", cell: (q) => <Num n={q.counts["queued"]} /> },
              { key: "age", head: "Oldest waiting", className: "num", cell: (q) => <Age seconds={q.oldest_age} /> },
              { key: "later", head: "Later", className: "num wide-only", cell: (q) => <Num n={WAITING(q)} /> },
              { key: "busy", head: "In work", className: "num", cell: (q) => <Load queue={q} /> },
              { key: "dead", head: "Dead", className: "num wide-only", cell: (q) => q.counts["dead_letter"] ? <Link className="link bad" href={jobsLink({ state: "dead_letter", queue: q.name })}>{short(q.counts["dead_letter"])}</Link> : <Num n={0} /> },
              { key: "wait", head: "Start delay", className: "num wide-only", cell: (q) => length(series.get(q.name)?.mean_wait) },
              { key: "run", head: "Run time", className: "num wide-only", cell: (q) => length(series.get(q.name)?.mean_run) },
              { key: "ops", head: <span className="hidden-label">Actions</span>, className: "tight", cell: (q) => (
                <div className="ops">
                  <Button needs={q.paused ? "post /api/v1/queues/{name}/resume" : "post /api/v1/queues/{name}/pause"} kind="tiny" icon={q.paused ? "play" : "pause"} onClick={() => void turn(q)} aria-label={`${q.paused ? "Resume" : "Pause"} ${q.name}`}>{q.paused ? "Resume" : "Pause"}</Button>
                  <Button needs="post /api/v1/queues/{name}/limit" kind="tiny" onClick={() => setOpen({ kind: "limit", queue: q })} aria-label={`Limit ${q.name}`}>Limit</Button>
                  <Button needs="delete /api/v1/queues/{name}/jobs" kind="tiny bare icon" icon="trash" label={`Delete what waits in ${q.name}`} onClick={() => setOpen({ kind: "purge", queue: q })} />
                </div>
              ) },
            ]}
          />
        )}
      </Card>
      {open?.kind === "limit" && <Limit queue={open.queue} onClose={() => setOpen(null)} onDone={() => refresh("queues")} />}
      {open?.kind === "purge" && (
        <Confirm
          title={`Delete what waits in ${open.queue.name}`}
          action="Delete"
          danger
          typed={open.queue.name}
          onClose={() => setOpen(null)}
          run={() => tell(
            request("delete", "/api/v1/queues/{name}/jobs", { path: { name: open.queue.name } }).then(({ purged }) => refreshed(purged, refresh)),
            `Deleted what waited in ${open.queue.name}`,
          )}
        >
          <span className="strong">{count((open.queue.counts["queued"] ?? 0) + WAITING(open.queue))}</span> waiting jobs are deleted for good. Jobs that run and jobs of workflows stay.
        </Confirm>
      )}
    </Page>
  );
}

function refreshed(purged: number, refresh: (...keys: string[]) => void): number {
  refresh("queues", "jobs");
  return purged;
}

function Line({ series, name }: { series: Series | undefined; name: string }) {
  if (!series) return <span className="zero">–</span>;
  const total = series.completed.reduce((sum, n) => sum + n, 0);
  return <Spark values={series.completed} failed={series.failed} label={`${name}: ${total} completed in 30 minutes`} />;
}

function Load({ queue }: { queue: Queue }) {
  const busy = BUSY(queue);
  if (queue.limit === null) return <Num n={busy} />;
  return <span className="row"><Meter share={busy / queue.limit} /><span title="In work, and the most that may be">{busy} / {queue.limit}</span></span>;
}

function Limit({ queue, onClose, onDone }: { queue: Queue; onClose: () => void; onDone: () => void }) {
  const [limit, setLimit] = useState(queue.limit === null ? "" : String(queue.limit));
  const save = async () => {
    const body = { limit: limit === "" ? null : Number(limit) };
    const done = await tell(
      post("/api/v1/queues/{name}/limit", { path: { name: queue.name }, body }),
      body.limit ? `${queue.name}: at most ${body.limit} at once` : `${queue.name}: no limit`,
    );
    if (done) {
      onDone();
      onClose();
    }
  };
  return (
    <Dialog
      title={`Limit ${queue.name}`}
      onClose={onClose}
      onSubmit={() => void save()}
      footer={<><Button onClick={onClose}>Back</Button><Button kind="primary" type="submit">Save</Button></>}
    >
      <TextField
        label="Jobs in work at once, over all workers"
        type="number"
        first
        value={limit}
        onChange={setLimit}
        placeholder="no limit"
        hint={`Now ${BUSY(queue)} are in work. Jobs that run beyond a lower limit are not stopped.`}
      />
    </Dialog>
  );
}
