/** The lanes: how full, how old, how fast; pause, resume, limit, empty. */
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { post, request, type Queue, type Schemas } from "../api/client";
import { useActivity, useQueues, useRefresh } from "../api/queries";
import { useMay } from "../api/session";
import { count, length, short } from "../lib/format";
import { jobsLink } from "../lib/search";
import { Spark } from "../ui/Chart";
import { Button, Meter, Pill, TextField } from "../ui/controls";
import { Confirm, Dialog } from "../ui/Dialog";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { ACTIONS, columnsOf, Table } from "../ui/Table";
import { tell } from "../ui/toast";
import { Age, Num } from "./Overview";

type Series = Schemas["Series"];
/** A queue, and what it did lately. */
type Lane = Queue & { series: Series | undefined };
type Open = { kind: "limit" | "purge"; queue: Queue };
const WINDOW = 1_800;
const BUSY = (queue: Queue) => (queue.counts["assigned"] ?? 0) + (queue.counts["running"] ?? 0);
const WAITING = (queue: Queue) =>
  (queue.counts["blocked"] ?? 0) + (queue.counts["scheduled"] ?? 0) + (queue.counts["retry_queued"] ?? 0);

export function Queues() {
  const list = useQueues(true);
  const may = useMay();
  const activity = useActivity("queue", WINDOW, may("get /api/v1/activity"));
  const [open, setOpen] = useState<Open | null>(null);
  const refresh = useRefresh();
  const lanes = useMemo(() => lanesOf(list.data?.queues ?? [], activity.data?.series ?? []), [list.data, activity.data]);
  const columns = useMemo(() => columnsFor(setOpen), []);
  return (
    <Page title="Queues" sub={list.data && `${lanes.length}`}>
      <Card>
        {list.isLoadingError ? <Failure error={list.error} retry={() => void list.refetch()} /> : list.isPending ? <Bones /> : lanes.length === 0 ? (
          <Empty icon="queues" title="No queue yet">A queue is made by the first job that is submitted to it.</Empty>
        ) : (
          <Table label="Queues" rows={lanes} rowKey={(lane) => lane.name} columns={columns} whole />
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

const lanesOf = (queues: readonly Queue[], series: readonly Series[]): Lane[] => {
  const named = new Map(series.map((one) => [one.name, one]));
  return queues.map((queue) => ({ ...queue, series: named.get(queue.name) }));
};
const completed = (lane: Lane) => lane.series?.completed.reduce((sum, n) => sum + n, 0) ?? 0;

const column = columnsOf<Lane>();
const columnsFor = (setOpen: (open: Open) => void) => column.columns([
  column.accessor("name", { header: "Queue", meta: { className: "fill" }, cell: ({ row: { original: q } }) => <div className="row"><Link className="cell strong cut" href={jobsLink({ queue: q.name })}>{q.name}</Link>{q.paused && <Pill tone="warn">paused</Pill>}</div> }),
  column.accessor(completed, { id: "spark", header: "Last 30 min", meta: { className: "tight wide-only" }, cell: ({ row }) => <Line lane={row.original} /> }),
  column.accessor((q) => q.counts["queued"] ?? 0, { id: "queued", header: "Queued", meta: { className: "num" }, cell: ({ row }) => <Num n={row.original.counts["queued"]} /> }),
  column.accessor((q) => q.oldest_age ?? undefined, { id: "age", header: "Oldest waiting", sortUndefined: "last", meta: { className: "num" }, cell: ({ row }) => <Age seconds={row.original.oldest_age} /> }),
  column.accessor(WAITING, { id: "later", header: "Later", meta: { className: "num wide-only" }, cell: ({ row }) => <Num n={WAITING(row.original)} /> }),
  column.accessor(BUSY, { id: "busy", header: "In work", meta: { className: "num" }, cell: ({ row }) => <Load queue={row.original} /> }),
  column.accessor((q) => q.counts["dead_letter"] ?? 0, { id: "dead", header: "Dead", meta: { className: "num wide-only" }, cell: ({ row }) => <Dead queue={row.original} /> }),
  column.accessor((q) => q.series?.mean_wait ?? undefined, { id: "wait", header: "Start delay", sortUndefined: "last", meta: { className: "num wide-only" }, cell: ({ row }) => length(row.original.series?.mean_wait) }),
  column.accessor((q) => q.series?.mean_run ?? undefined, { id: "run", header: "Run time", sortUndefined: "last", meta: { className: "num wide-only" }, cell: ({ row }) => length(row.original.series?.mean_run) }),
  column.display({ id: "ops", header: ACTIONS, meta: { className: "tight" }, cell: ({ row }) => <Deeds queue={row.original} setOpen={setOpen} /> }),
]);

function Deeds({ queue, setOpen }: { queue: Queue; setOpen: (open: Open) => void }) {
  const refresh = useRefresh();
  const { name, paused } = queue;
  const turn = () =>
    tell(
      post(paused ? "/api/v1/queues/{name}/resume" : "/api/v1/queues/{name}/pause", { path: { name } }),
      paused ? `${name} goes on` : `${name} is paused: what runs goes on, nothing new is taken`,
    ).then(() => refresh("queues"));
  return (
    <div className="ops">
      <Button needs={paused ? "post /api/v1/queues/{name}/resume" : "post /api/v1/queues/{name}/pause"} kind="tiny" icon={paused ? "play" : "pause"} onClick={() => void turn()} aria-label={`${paused ? "Resume" : "Pause"} ${name}`}>{paused ? "Resume" : "Pause"}</Button>
      <Button needs="post /api/v1/queues/{name}/limit" kind="tiny" onClick={() => setOpen({ kind: "limit", queue })} aria-label={`Limit ${name}`}>Limit</Button>
      <Button needs="delete /api/v1/queues/{name}/jobs" kind="tiny bare icon" icon="trash" label={`Delete what waits in ${name}`} onClick={() => setOpen({ kind: "purge", queue })} />
    </div>
  );
}

function Dead({ queue }: { queue: Queue }) {
  const n = queue.counts["dead_letter"];
  return n ? <Link className="link bad" href={jobsLink({ state: "dead_letter", queue: queue.name })}>{short(n)}</Link> : <Num n={0} />;
}

function refreshed(purged: number, refresh: (...keys: string[]) => void): number {
  refresh("queues", "jobs");
  return purged;
}

function Line({ lane }: { lane: Lane }) {
  const { name, series } = lane;
  if (!series) return <span className="zero">–</span>;
  return <Spark values={series.completed} failed={series.failed} label={`${name}: ${completed(lane)} completed in 30 minutes`} />;
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
