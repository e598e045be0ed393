/** What the system is doing now, and what needs somebody. */
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { useLive, type Overview as View } from "../api/live";
import { useStats } from "../api/queries";
import { LIVE, PRIORITIES, STATES, type State } from "../generated/lifecycle";
import { count, length, ms, percent, plural, short } from "../lib/format";
import { jobsLink } from "../lib/search";
import { buckets, Throughput } from "../ui/Chart";
import { Dot, Meter, Pill, Segments, StateBadge } from "../ui/controls";
import { Bones, Card, Empty, Page } from "../ui/parts";
import { columnsOf, Table } from "../ui/Table";
import { Ago } from "../ui/Time";

const WINDOWS = [["900", "15 min"], ["3600", "1 h"], ["21600", "6 h"], ["86400", "24 h"]] as const;
type Window = (typeof WINDOWS)[number][0];
const NONE: View["stats"]["throughput"]["minutes"] = [];

export function Overview() {
  const { overview } = useLive();
  const [window, setWindow] = useState<Window>("3600");
  if (!overview) return <Page title="Overview"><Card><Bones rows={8} /></Card></Page>;
  return (
    <Page title="Overview" sub={<Sub overview={overview} />}>
      <States overview={overview} />
      <div className="cols">
        <div className="span-8 stretch"><Flow overview={overview} window={window} setWindow={setWindow} /></div>
        <div className="span-4 stretch"><Speed overview={overview} /></div>
        <div className="span-7"><QueueTable overview={overview} /></div>
        <div className="span-5"><Health overview={overview} /></div>
        <div className="span-7"><Causes overview={overview} /></div>
        <div className="span-5"><Failing overview={overview} /></div>
      </div>
    </Page>
  );
}

function Sub({ overview }: { overview: View }) {
  const { stats, rates } = overview;
  return (
    <>
      {plural(stats.jobs, "job")} kept
      {rates && <> · {rate(rates.submitted)} in · {rate(rates.completed)} done</>}
    </>
  );
}

const rate = (perSecond: number): string => `${short(perSecond)}/s`;

function States({ overview }: { overview: View }) {
  const { stats, matrix } = overview;
  return (
    <section className="card states" aria-label="Jobs by state">
      {STATES.map((state) => {
        const n = stats.states[state] ?? 0;
        return (
          <Link key={state} href={jobsLink({ state })}>
            <StateBadge state={state} />
            <span className={n ? "figure" : "figure zero"} title={count(n)}>{n < 1e6 ? count(n) : short(n)}</span>
            <span className="lanes">{lanes(matrix, state)}</span>
          </Link>
        );
      })}
    </section>
  );
}

/** "2 high · 11 low": priorities of what still lives, the medium ones being the rest. */
function lanes(matrix: View["matrix"], state: State): string {
  if (!LIVE.includes(state)) return "";
  return PRIORITIES.flatMap((priority) => {
    const n = matrix[priority]?.[state] ?? 0;
    return n ? [`${short(n)} ${priority === "medium" ? "med" : priority}`] : [];
  }).join(" · ");
}

function Flow({ overview, window, setWindow }: { overview: View; window: Window; setWindow: (w: Window) => void }) {
  const seconds = Number(window);
  const longer = useStats(seconds, seconds > 3600);
  const minutes = seconds > 3600 ? (longer.data?.throughput.minutes ?? NONE) : overview.stats.throughput.minutes;
  const now = ms(overview.now);
  const data = useMemo(() => buckets(minutes, now, seconds), [minutes, now, seconds]);
  const sum = (key: "submitted" | "completed" | "failed") =>
    minutes.filter((m) => ms(m.minute_at) > now - seconds * 1000).reduce((total, m) => total + m[key], 0);
  const totals = { submitted: sum("submitted"), completed: sum("completed"), failed: sum("failed") };
  return (
    <Card
      title="Throughput"
      end={<Segments label="How far back" value={window} options={WINDOWS} onChange={setWindow} />}
    >
      <div className="body">
        <div className="legend">
          <span className="s-queued"><i className="dot" />{short(totals.submitted)} submitted</span>
          <span className="s-completed"><i className="dot" />{short(totals.completed)} completed</span>
          <span className="s-dead_letter"><i className="dot" />{short(totals.failed)} failed attempts</span>
        </div>
      </div>
      <Throughput
        data={data}
        label={`${totals.submitted} submitted, ${totals.completed} completed, ${totals.failed} attempts failed`}
      />
    </Card>
  );
}

const SHARES = ["p50", "p95", "p99"] as const;
const RECENT = "Of the attempts that ended in the last five minutes, within a factor of two";

function Speed({ overview }: { overview: View }) {
  const { response, error_rate, throughput, workers } = overview.stats;
  const { wait, run } = overview.times;
  return (
    <Card title="Speed" sub="the last hour" className="fill">
      <div className="body stack">
        <div className="figures">
          <Figure name="Completed" value={`${short(throughput.completed_per_minute)}/min`} />
          <Figure name="Failed attempts" value={percent(error_rate)} bad={(error_rate ?? 0) >= 0.05} />
        </div>
        <table className="percentiles">
          <caption className="hidden-label">Means of the last hour, percentiles of the last five minutes</caption>
          <thead><tr><th scope="col"><span className="hidden-label">Figure</span></th><th scope="col">mean</th>{SHARES.map((share) => <th key={share} scope="col" title={RECENT}>{share}</th>)}</tr></thead>
          <tbody>
            <tr><th scope="row">Start delay</th><td>{length(response.mean_wait)}</td>{SHARES.map((share) => <td key={share}>{length(wait?.[share])}</td>)}</tr>
            <tr><th scope="row">Run time</th><td>{length(response.mean_run)}</td>{SHARES.map((share) => <td key={share}>{length(run?.[share])}</td>)}</tr>
          </tbody>
        </table>
        <p className="faint small" title={RECENT}>p50 to p99: the last five minutes</p>
        <div className="progress">
          <div className="row"><span className="grow soft">Slots in use</span><span>{count(workers.busy)} of {count(workers.slots)}</span></div>
          <Meter share={workers.utilization ?? 0} />
        </div>
      </div>
    </Card>
  );
}

function Figure({ name, value, bad = false }: { name: string; value: string; bad?: boolean }) {
  return (
    <div>
      <div className="name">{name}</div>
      <div className={bad ? "figure bad" : "figure"}>{value}</div>
    </div>
  );
}

/** Seconds from which a waiting job is late enough to be pointed at. */
const LATE = 60;

const queue = columnsOf<View["stats"]["queues"][number]>();
const QUEUES = queue.columns([
  queue.display({ id: "name", header: "Queue", meta: { className: "fill" }, cell: ({ row: { original: q } }) => <div className="row"><Link className="cell cut" href={jobsLink({ queue: q.name })}>{q.name}</Link>{q.paused && <Pill tone="warn">paused</Pill>}</div> }),
  queue.display({ id: "queued", header: "Queued", meta: { className: "num" }, cell: ({ row }) => <Num n={row.original.counts["queued"]} /> }),
  queue.display({ id: "running", header: "In work", meta: { className: "num" }, cell: ({ row: { original: q } }) => <Num n={(q.counts["running"] ?? 0) + (q.counts["assigned"] ?? 0)} /> }),
  queue.display({ id: "later", header: "Later", meta: { className: "num wide-only" }, cell: ({ row: { original: q } }) => <Num n={(q.counts["scheduled"] ?? 0) + (q.counts["retry_queued"] ?? 0) + (q.counts["blocked"] ?? 0)} /> }),
  queue.display({ id: "dead", header: "Dead", meta: { className: "num wide-only" }, cell: ({ row }) => <Num n={row.original.counts["dead_letter"]} /> }),
  queue.display({ id: "age", header: "Oldest waiting", meta: { className: "num" }, cell: ({ row }) => <Age seconds={row.original.oldest_age} /> }),
]);

function QueueTable({ overview }: { overview: View }) {
  const queues = overview.stats.queues.toSorted((a, b) => (b.oldest_age ?? -1) - (a.oldest_age ?? -1));
  return (
    <Card title="Queues" end={<Link className="link" href="/queues">All queues</Link>}>
      {queues.length === 0 ? (
        <Empty icon="queues" title="No queue yet">It is made by the first job that is submitted to it.</Empty>
      ) : (
        <Table
          label="Queues"
          rows={queues.slice(0, 8)}
          rowKey={(one) => one.name}
          columns={QUEUES}
        />
      )}
    </Card>
  );
}

export function Num({ n }: { n: number | undefined }) {
  return n ? <span title={count(n)}>{short(n)}</span> : <span className="zero">0</span>;
}

export function Age({ seconds }: { seconds: number | null }) {
  if (seconds === null) return <span className="zero">–</span>;
  return <span className={seconds >= LATE ? "warn-text strong" : ""}>{length(seconds < 1 ? 0.9 : Math.floor(seconds)).replace("900 ms", "< 1 s")}</span>;
}

function Health({ overview }: { overview: View }) {
  const { store, broker, keeper, stats } = overview;
  const { workers } = stats;
  const slow = store.latency > 0.25;
  const waiting = stats.states["queued"] ?? 0;
  return (
    <Card title="Parts">
      <ul className="health">
        <li>
          <span className="soft">Workers</span>
          <span className="state"><Dot tone={workers.total ? "good" : waiting ? "bad" : "warn"} />
            {workers.total ? plural(workers.total, "worker") : "nobody works"}
            {workers.draining > 0 && <Pill tone="warn">{workers.draining} draining</Pill>}
          </span>
          <Link className="link faint small" href="/workers">{count(workers.slots)} slots</Link>
        </li>
        <li>
          <span className="soft">Store</span>
          <span className="state cut" title={`${store.url}\n${store.can_lose}`}><Dot tone={slow ? "warn" : "good"} />{store.engine} {store.version}</span>
          <span className="faint small" title="How long it took to answer a question about one job">{length(Math.max(store.latency, 0.0001))}</span>
        </li>
        <li>
          <span className="soft">Broker</span>
          {broker ? (
            <span className="state cut" title={broker.error}><Dot tone={broker.connected ? "good" : "bad"} />{broker.scheme} {broker.connected ? "connected" : "away"}</span>
          ) : (
            <span className="state soft"><Dot tone="off" />none: the store wakes the workers</span>
          )}
          <span className="faint small">{broker ? `${short(broker.rung)} rung` : ""}</span>
        </li>
        <li>
          <span className="soft">Keeper</span>
          <span className="state cut"><Dot tone={keeper ? "good" : "bad"} />{keeper ? keeper.holder.split("#")[0] : "nobody keeps house"}</span>
          <span className="faint small">{keeper && <Ago at={keeper.elected_at} />}</span>
        </li>
      </ul>
    </Card>
  );
}

const cause = columnsOf<View["dead_letters"]["groups"][number]>();
const CAUSES = cause.columns([
  cause.display({ id: "count", header: "Jobs", meta: { className: "num tight" }, cell: ({ row }) => <span className="strong">{short(row.original.count)}</span> }),
  cause.display({ id: "cause", header: "Cause", meta: { className: "fill" }, cell: ({ row: { original: g } }) => <div className="cut"><Link className="cell" href={`/dead-letters`} title={g.message}><span className="strong">{g.type || g.code}</span> <span className="soft">{g.message}</span></Link></div> }),
  cause.display({ id: "task", header: "Task", meta: { className: "tight wide-only soft" }, cell: ({ row: { original: g } }) => g.tasks.length === 1 ? g.tasks[0] : plural(g.tasks.length, "task") }),
  cause.display({ id: "newest", header: "Newest", meta: { className: "num tight" }, cell: ({ row }) => <Ago at={row.original.newest_at} /> }),
]);

function Causes({ overview }: { overview: View }) {
  const { groups, is_complete, scanned } = overview.dead_letters;
  return (
    <Card
      title="Dead letters by cause"
      sub={!is_complete && `of the newest ${count(scanned)}`}
      end={<Link className="link" href="/dead-letters">All dead letters</Link>}
    >
      {groups.length === 0 ? (
        <Empty icon="check" title="No dead letters">Every job that failed was tried again and succeeded.</Empty>
      ) : (
        <Table
          label="Dead letters by cause"
          rows={groups.slice(0, 6)}
          rowKey={(g) => `${g.code} ${g.type} ${g.message}`}
          columns={CAUSES}
        />
      )}
    </Card>
  );
}

const task = columnsOf<View["failing"][number]>();
const FAILING = task.columns([
  task.display({ id: "task", header: "Task", meta: { className: "fill" }, cell: ({ row: { original: t } }) => <div className="cut"><Link className="cell" href={jobsLink({ task: t.task })}>{t.task}</Link></div> }),
  task.display({ id: "failed", header: "Failed", meta: { className: "num" }, cell: ({ row }) => <span className="bad strong">{short(row.original.failed)}</span> }),
  task.display({ id: "share", header: "Share", meta: { className: "num" }, cell: ({ row: { original: t } }) => percent(t.failed / Math.max(1, t.failed + t.completed)) }),
  task.display({ id: "dead", header: "Dead", meta: { className: "num" }, cell: ({ row }) => <Num n={row.original.dead} /> }),
]);

function Failing({ overview }: { overview: View }) {
  return (
    <Card title="Failing tasks" sub="the last hour">
      {overview.failing.length === 0 ? (
        <Empty icon="check" title="No attempt failed" />
      ) : (
        <Table
          label="Failing tasks"
          rows={overview.failing.slice(0, 6)}
          rowKey={(one) => one.task}
          columns={FAILING}
        />
      )}
    </Card>
  );
}
