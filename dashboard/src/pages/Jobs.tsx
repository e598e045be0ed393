/** Find the one job that matters among a million, and act on one or on all that match. */
import { useMemo, useState } from "react";
import { Link, useLocation } from "wouter";
import { address, ApiError, messageOf, type Job } from "../api/client";
import { useLive } from "../api/live";
import { useJobCount, useJobs } from "../api/queries";
import { useMay } from "../api/session";
import { LEASED, STATES, type State } from "../generated/lifecycle";
import { useParameter } from "../lib/address";
import { between, count, length, percent, short, tail, words } from "../lib/format";
import { terms, valuesOf, withValues } from "../lib/search";
import { useShortcuts } from "../lib/shortcuts";
import { Button, Meter, StateBadge } from "../ui/controls";
import { ColumnMenu, useHidden, without } from "../ui/ColumnMenu";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { SearchBox } from "../ui/SearchBox";
import { columnsOf, Table, type RowSelectionState } from "../ui/Table";
import { Ago, Since } from "../ui/Time";
import { Bulk, Submit } from "./asked";
import type { Action, Target } from "./Bulk";

const SIZE = 50;
const NONE: RowSelectionState = {};

export function Jobs() {
  const [q, setQ] = useParameter("q");
  const [cursor, setCursor] = useParameter("cursor");
  const [trail, setTrail] = useState<string[]>([]);
  const [chosen, setChosen] = useState(NONE);
  const [bulk, setBulk] = useState<{ action: Action; target: Target } | null>(null);
  const [submitting, setSubmitting] = useState(false);
  const list = useJobs(q, cursor || null, SIZE);
  const jobs = list.data?.jobs ?? [];
  const search = (text: string) => {
    setChosen(NONE);
    setTrail([]);
    setQ(text, { cursor: "" });
  };
  const may = useMay();
  const choosing = may("post /api/v1/jobs/bulk");
  const row = useRows(jobs, (id) => choosing && setChosen(({ [id]: was, ...others }) => (was ? others : { ...others, [id]: true })), () => may("post /api/v1/jobs") && setSubmitting(true));
  const tenant = jobs.some((job) => job.tenant);
  // The column to choose with is for those who may do something with what they chose.
  const [hidden, turnColumn] = useHidden("stoker.jobs.hidden");
  const visible = useMemo(() => ({ choose: choosing, tenant, ...without(hidden) }), [choosing, tenant, hidden]);
  const turn = (to: string, rest: string[]) => {
    setTrail(rest);
    setCursor(to);
  };
  return (
    <Page
      title="Jobs"
      sub={<Found q={q} />}
      actions={
        <>
          <ColumnMenu columns={SPARED} hidden={hidden} onTurn={turnColumn} />
          <a className="button" href={address("/api/v1/jobs/export", {}, { q, format: "csv", limit: 10_000 })} download>CSV</a>
          <a className="button" href={address("/api/v1/jobs/export", {}, { q, format: "jsonl", limit: 10_000 })} download>JSON</a>
          <Button needs="post /api/v1/jobs" kind="primary" icon="plus" onClick={() => setSubmitting(true)}>Submit a job</Button>
        </>
      }
    >
      <SearchBox value={q} onSearch={search} label="Search jobs" placeholder={'task:invoice.send state:dead_letter error:"502" since:2h'} />
      <StateTabs q={q} onSearch={search} />
      <Card>
        <Choice
          key={`${q} ${Object.keys(chosen).length}`}
          jobs={jobs}
          chosen={Object.keys(chosen)}
          q={q}
          onClear={() => setChosen(NONE)}
          onAct={(action, target) => setBulk({ action, target })}
        />
        {list.isLoadingError ? (
          <Wrong error={list.error} retry={() => void list.refetch()} />
        ) : list.isPending ? (
          <Bones rows={12} />
        ) : jobs.length === 0 ? (
          <Empty title={q ? "No job matches" : "No job yet"}>
            {q ? <button type="button" className="link" onClick={() => search("")}>Show all jobs</button> : <code>stoker send send_email to=you@example.com subject=Hello body=Hi</code>}
          </Empty>
        ) : (
          <Table
            label="Jobs"
            rows={jobs}
            rowKey={(job) => job.id}
            rowClass={(job, index) => `${chosen[job.id] ? "chosen" : ""} ${index === row ? "cursor" : ""}`}
            columns={COLUMNS}
            visible={visible}
            chosen={chosen}
            onChoose={setChosen}
          />
        )}
      </Card>
      <div className="row">
        <span className="grow faint small">{jobs.length > 0 && `${count(jobs.length)} on this page, newest first`}</span>
        <Button icon="left" disabled={!cursor} onClick={() => turn(trail.at(-1) ?? "", trail.slice(0, -1))}>Newer</Button>
        <Button disabled={!list.data?.next_cursor} onClick={() => turn(list.data?.next_cursor ?? "", [...trail, cursor])}>Older</Button>
      </div>
      {bulk && <Bulk {...bulk} onClose={() => setBulk(null)} onDone={() => setChosen(NONE)} />}
      {submitting && <Submit onClose={() => setSubmitting(false)} />}
    </Page>
  );
}

function Found({ q }: { q: string }) {
  const live = useLive().overview;
  const counted = useJobCount(q, q !== "");
  if (q === "") return <>{live ? count(live.stats.jobs) : ""}</>;
  if (!counted.data) return null;
  return (
    <span title={counted.data.is_exact ? "" : "Counting stopped here: there are at least so many"}>
      {count(counted.data.count)}{counted.data.is_exact ? "" : "+"} match
    </span>
  );
}

function StateTabs({ q, onSearch }: { q: string; onSearch: (text: string) => void }) {
  const states = useLive().overview?.stats.states;
  const now = valuesOf(q, "state");
  const narrowed = terms(q).some((term) => term.key !== "state");
  const tab = (name: string, on: boolean, text: string, n: number | undefined, badge: boolean) => (
    <button key={name} type="button" aria-pressed={on} onClick={() => onSearch(text)}>
      {badge ? <StateBadge state={name as State} /> : words(name)}
      {!narrowed && n !== undefined && <span className="tally">{short(n)}</span>}
    </button>
  );
  return (
    <div className="tabs" role="group" aria-label="Jobs in a state">
      {tab("all", now.length === 0, withValues(q, "state", []), undefined, false)}
      {STATES.map((state) => tab(state, now.includes(state), withValues(q, "state", [state]), states?.[state], true))}
    </div>
  );
}

function Wrong({ error, retry }: { error: unknown; retry: () => void }) {
  if (error instanceof ApiError && error.code === "invalid_query") {
    return <Empty icon="search" title="The search cannot be read">{messageOf(error)}</Empty>;
  }
  return <Failure error={error} retry={retry} />;
}

/** `j` and `k` move through the rows, Enter opens one, `x` chooses it. */
function useRows(jobs: readonly Job[], choose: (id: string) => void, submit: () => void): number {
  const [row, setRow] = useState(-1);
  const [, go] = useLocation();
  const to = (next: number) => {
    setRow(next);
    document.querySelectorAll(".table tbody tr")[next]?.scrollIntoView({ block: "nearest" });
  };
  const at = jobs[row];
  useShortcuts({
    j: () => to(Math.min(row + 1, jobs.length - 1)),
    k: () => to(Math.max(row - 1, 0)),
    x: () => at && choose(at.id),
    n: submit,
    "/": () => document.getElementById("search")?.focus(),
    ...(at ? { Enter: () => go(`/jobs/${at.id}`) } : {}),
  });
  return row;
}

function Choice(props: {
  jobs: readonly Job[];
  chosen: readonly string[];
  q: string;
  onClear: () => void;
  onAct: (action: Action, target: Target) => void;
}) {
  const { jobs, chosen, q } = props;
  const [all, setAll] = useState(false);
  if (chosen.length === 0) return null;
  const whole = chosen.length >= jobs.length;
  const target: Target = all ? { q } : { ids: [...chosen] };
  const act = (action: Action) => () => props.onAct(action, target);
  return (
    <div className="bulk" role="region" aria-label="Chosen jobs">
      <span className="strong">{all ? (q ? "Everything that matches" : "Every job") : `${count(chosen.length)} chosen`}</span>
      {whole && !all && (
        <button type="button" className="button tiny" onClick={() => setAll(true)}>
          Take everything that matches
        </button>
      )}
      <span className="grow" />
      <Button kind="tiny" icon="retry" onClick={act("retry")}>Retry</Button>
      <Button kind="tiny" icon="close" onClick={act("cancel")}>Cancel</Button>
      <Button kind="tiny danger" icon="trash" onClick={act("delete")}>Delete</Button>
      <Button kind="tiny bare" onClick={props.onClear}>Clear</Button>
    </div>
  );
}

const column = columnsOf<Job>();
/** Nothing here can be sorted by: the server turns the pages, and a page of a million jobs in another order would say nothing. */
const COLUMNS = column.columns([
  column.display({
    id: "choose",
    header: ({ table }) => <input type="checkbox" aria-label="Choose all on this page" checked={table.getIsAllRowsSelected()} onChange={table.getToggleAllRowsSelectedHandler()} />,
    meta: { className: "tight" },
    // Shift takes every row between this one and the last one.
    cell: ({ row }) => <input type="checkbox" aria-label={`Choose job ${row.id}`} checked={row.getIsSelected()} onChange={row.getToggleSelectedHandler()} />,
  }),
  column.display({ id: "state", header: "State", meta: { className: "tight" }, cell: ({ row }) => <StateBadge state={row.original.state} /> }),
  column.display({ id: "task", header: "Task", meta: { className: "tight" }, cell: ({ row: { original: job } }) => <Link className="cell strong" href={`/jobs/${job.id}`}>{job.task}</Link> }),
  column.display({ id: "what", header: "", meta: { className: "fill" }, cell: ({ row }) => <div className="cut"><What job={row.original} /></div> }),
  column.display({ id: "queue", header: "Queue", meta: { className: "tight wide-only soft" }, cell: ({ row }) => row.original.queue }),
  column.display({ id: "priority", header: "Priority", meta: { className: "tight wide-only" }, cell: ({ row: { original: job } }) => <span className={job.priority === "high" ? "strong" : "faint"}>{job.priority}</span> }),
  column.display({ id: "tenant", header: "Tenant", meta: { className: "tight wide-only soft" }, cell: ({ row }) => row.original.tenant ?? "" }),
  column.display({ id: "attempt", header: "Attempt", meta: { className: "num wide-only" }, cell: ({ row: { original: job } }) => <span className={job.failed || job.lost ? "" : "zero"}>{job.attempt}</span> }),
  column.display({ id: "ran", header: "Ran for", meta: { className: "num wide-only" }, cell: ({ row }) => <Ran job={row.original} /> }),
  column.display({ id: "submitted", header: "Submitted", meta: { className: "num" }, cell: ({ row }) => <Ago at={row.original.submitted_at} /> }),
]);

/** Columns that one can do without. */
const SPARED = [["queue", "Queue"], ["priority", "Priority"], ["tenant", "Tenant"], ["attempt", "Attempt"], ["ran", "Ran for"], ["submitted", "Submitted"]] as const;

/** What is most worth knowing about a job in one line. */
function What({ job }: { job: Job }) {
  if (LEASED.includes(job.state) && job.progress !== null) {
    return <span className="row"><Meter share={job.progress} /><span className="soft">{percent(job.progress)} {job.progress_note}</span></span>;
  }
  if (job.state === "scheduled" || job.state === "retry_queued") {
    return <span className="soft">due <Ago at={job.run_at} />{job.error && <> · <Cause job={job} /></>}</span>;
  }
  if (job.state === "blocked") return <span className="soft">waits for {job.waiting_for} of {job.parents.length}</span>;
  if (job.state === "dead_letter" && job.error) return <Cause job={job} />;
  return <span className="mono faint" title={job.id}>{tail(job.id)} <span className="soft">{payloadLine(job)}</span></span>;
}

const Cause = ({ job }: { job: Job }) => (
  <span className="bad" title={job.error?.message}>{job.error?.type || job.error?.code} <span className="soft">{job.error?.message.split("\n")[0]}</span></span>
);

function payloadLine(job: Job): string {
  const text = Object.entries(job.payload as Record<string, unknown>)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : typeof value === "object" ? "…" : String(value)}`)
    .join(" ");
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

function Ran({ job }: { job: Job }) {
  if (!job.started_at) return <span className="zero">–</span>;
  if (job.finished_at) return <>{length(between(job.started_at, job.finished_at))}</>;
  return LEASED.includes(job.state) ? <Since at={job.started_at} /> : <span className="zero">–</span>;
}
