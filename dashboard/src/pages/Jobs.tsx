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
import { Bones, Card, Empty, Failure, Page, Table, type Column } from "../ui/parts";
import { SearchBox } from "../ui/SearchBox";
import { Ago, Since } from "../ui/Time";
import { Bulk, type Action, type Target } from "./Bulk";
import { Submit } from "./Submit";

const SIZE = 50;

export function Jobs() {
  const [q, setQ] = useParameter("q");
  const [cursor, setCursor] = useParameter("cursor");
  const [trail, setTrail] = useState<string[]>([]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [bulk, setBulk] = useState<{ action: Action; target: Target } | null>(null);
  const [submitting, setSubmitting] = useState(false);
  const list = useJobs(q, cursor || null, SIZE);
  const jobs = list.data?.jobs ?? [];
  const search = (text: string) => {
    setChosen(new Set());
    setTrail([]);
    setQ(text, { cursor: "" });
  };
  const may = useMay();
  const choosing = may("post /api/v1/jobs/bulk");
  const row = useRows(jobs, (id) => choosing && setChosen(toggled(chosen, id)), () => may("post /api/v1/jobs") && setSubmitting(true));
  // Both stay the same, so that rows in which nothing changed are not drawn again.
  const cell = useMemo(() => choiceCell(setChosen), []);
  const shown = jobs.some((job) => job.tenant) ? COLUMNS : COLUMNS.filter((column) => column.key !== "tenant");
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
          key={`${q} ${chosen.size}`}
          jobs={jobs}
          chosen={chosen}
          q={q}
          onClear={() => setChosen(new Set())}
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
            rowClass={(job, index) => `${chosen.has(job.id) ? "chosen" : ""} ${index === row ? "cursor" : ""}`}
            isChosen={(job) => chosen.has(job.id)}
            columns={choosing ? [choice(jobs, chosen, setChosen, cell), ...shown] : shown}
          />
        )}
      </Card>
      <div className="row">
        <span className="grow faint small">{jobs.length > 0 && `${count(jobs.length)} on this page, newest first`}</span>
        <Button icon="left" disabled={!cursor} onClick={() => turn(trail.at(-1) ?? "", trail.slice(0, -1))}>Newer</Button>
        <Button disabled={!list.data?.next_cursor} onClick={() => turn(list.data?.next_cursor ?? "", [...trail, cursor])}>Older</Button>
      </div>
      {bulk && <Bulk {...bulk} onClose={() => setBulk(null)} onDone={() => setChosen(new Set())} />}
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

const toggled = (set: ReadonlySet<string>, id: string): Set<string> => {
  const next = new Set(set);
  if (!next.delete(id)) next.add(id);
  return next;
};

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
  chosen: ReadonlySet<string>;
  q: string;
  onClear: () => void;
  onAct: (action: Action, target: Target) => void;
}) {
  const { jobs, chosen, q } = props;
  const [all, setAll] = useState(false);
  if (chosen.size === 0) return null;
  const whole = chosen.size >= jobs.length;
  const target: Target = all ? { q } : { ids: [...chosen] };
  const act = (action: Action) => () => props.onAct(action, target);
  return (
    <div className="bulk" role="region" aria-label="Chosen jobs">
      <span className="strong">{all ? (q ? "Everything that matches" : "Every job") : `${count(chosen.size)} chosen`}</span>
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

type SetChosen = (next: ReadonlySet<string> | ((now: ReadonlySet<string>) => ReadonlySet<string>)) => void;

/** The column to choose with is for those who may do something with what they chose. */
function choice(jobs: readonly Job[], chosen: ReadonlySet<string>, setChosen: SetChosen, cell: Column<Job>["cell"]): Column<Job> {
  const all = jobs.length > 0 && jobs.every((job) => chosen.has(job.id));
  return {
    key: "choose",
    head: <input type="checkbox" aria-label="Choose all on this page" checked={all} onChange={() => setChosen(new Set(all ? [] : jobs.map((job) => job.id)))} />,
    className: "tight",
    cell,
  };
}

const choiceCell = (setChosen: SetChosen): Column<Job>["cell"] => (job, chosen) => (
  <input type="checkbox" aria-label={`Choose job ${job.id}`} checked={chosen} onChange={() => setChosen((now) => toggled(now, job.id))} />
);

const COLUMNS: readonly Column<Job>[] = [
  { key: "state", head: "State", className: "tight", cell: (job) => <StateBadge state={job.state} /> },
  { key: "task", head: "Task", className: "tight", cell: (job) => <Link className="cell strong" href={`/jobs/${job.id}`}>{job.task}</Link> },
  { key: "what", head: "", className: "fill", cell: (job) => <div className="cut"><What job={job} /></div> },
  { key: "queue", head: "Queue", className: "tight wide-only soft", cell: (job) => job.queue },
  { key: "priority", head: "Priority", className: "tight wide-only", cell: (job) => <span className={job.priority === "high" ? "strong" : "faint"}>{job.priority}</span> },
  { key: "tenant", head: "Tenant", className: "tight wide-only soft", cell: (job) => job.tenant ?? "" },
  { key: "attempt", head: "Attempt", className: "num wide-only", cell: (job) => <span className={job.failed || job.lost ? "" : "zero"}>{job.attempt}</span> },
  { key: "ran", head: "Ran for", className: "num wide-only", cell: (job) => <Ran job={job} /> },
  { key: "submitted", head: "Submitted", className: "num", cell: (job) => <Ago at={job.submitted_at} /> },
];

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
