/** Jobs that failed for good, by what they died of: replay, drop, export. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { address, get, messageOf, post, type Job, type Schemas } from "../api/client";
import { useJobs, useRefresh, useTasks } from "../api/queries";
import { useParameter } from "../lib/address";
import { count, ms, plural, tail } from "../lib/format";
import { jobsLink, searchFor } from "../lib/search";
import { Button, Segments, TextField } from "../ui/controls";
import { Dialog } from "../ui/Dialog";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { ACTIONS, columnsOf, Table } from "../ui/Table";
import { Ago } from "../ui/Time";
import { toast } from "../ui/toast";

type Group = Schemas["ErrorGroup"];
/** What the server takes besides `all`. */
type Filter = { task?: string; group?: Schemas["Cause"] };
type Ask = { kind: "replay" | "drop"; filter: Filter; title: string };

export function DeadLetters() {
  const [task, setTask] = useParameter("task");
  const [view, setView] = useParameter("view");
  const [ask, setAsk] = useState<Ask | null>(null);
  const tasks = useTasks().data?.tasks ?? [];
  const groups = useQuery({
    queryKey: ["dead", task],
    queryFn: ({ signal }) => get("/api/v1/dead-letters", { query: { group_by: "error", ...(task ? { task: [task] } : {}) }, signal }) as Promise<Schemas["ErrorGroups"]>,
    meta: { live: true },
  });
  const total = groups.data?.scanned ?? 0;
  const columns = useMemo(() => columnsFor(task, setAsk), [task]);
  const filter: Filter = task ? { task } : {};
  const title = task ? `dead letters of ${task}` : "all dead letters";
  return (
    <Page
      title="Dead letters"
      sub={groups.data && `${count(total)}${groups.data.is_complete ? "" : "+"}`}
      actions={
        <>
          <a className="button" href={address("/api/v1/jobs/export", {}, { q: searchFor({ state: "dead_letter", task: task || undefined }), format: "jsonl" })} download>Export</a>
          <Button needs="post /api/v1/dead-letters/drop" icon="trash" kind="danger" disabled={!total} onClick={() => setAsk({ kind: "drop", filter, title })}>Drop {task ? "these" : "all"}</Button>
          <Button needs="post /api/v1/dead-letters/replay" icon="retry" kind="primary" disabled={!total} onClick={() => setAsk({ kind: "replay", filter, title })}>Replay {task ? "these" : "all"}</Button>
        </>
      }
    >
      <div className="row wrap">
        <Segments label="How to show them" value={view === "list" ? "list" : "causes"} options={[["causes", "By cause"], ["list", "One by one"]]} onChange={(next) => setView(next === "list" ? "list" : "")} />
        <label className="row">
          <span className="faint">Task</span>
          <select className="select" value={task} onChange={(event) => setTask(event.target.value)}>
            <option value="">all</option>
            {tasks.map((one) => <option key={one.name}>{one.name}</option>)}
          </select>
        </label>
      </div>
      {view === "list" ? <List task={task} /> : (
        <Card>
          {groups.isLoadingError ? <Failure error={groups.error} retry={() => void groups.refetch()} /> : groups.isPending ? <Bones /> : groups.data.groups.length === 0 ? (
            <Empty icon="check" title="No dead letters">Every job that failed was tried again and succeeded.</Empty>
          ) : (
            <Table
              label="Dead letters by cause"
              rows={groups.data.groups}
              rowKey={(g) => `${g.code} ${g.type} ${g.message}`}
              columns={columns}
              whole={groups.data.is_complete}
            />
          )}
        </Card>
      )}
      {ask && <Question {...ask} onClose={() => setAsk(null)} />}
    </Page>
  );
}

const named = (group: Group): string => `${group.type || group.code}`;
/** Exactly the jobs that the row counts: a text that they have in common would take others along. */
const of = ({ code, type, message }: Group, task: string): Filter => ({ group: { code, type, message }, ...(task ? { task } : {}) });

const group = columnsOf<Group>();

const columnsFor = (task: string, ask: (ask: Ask) => void) => group.columns([
  group.accessor("count", { header: "Jobs", meta: { className: "num tight" }, cell: ({ row }) => <span className="strong">{count(row.original.count)}</span> }),
  group.accessor((g) => `${g.type || g.code} ${g.message}`, { id: "cause", header: "Cause", meta: { className: "fill" }, cell: ({ row: { original: g } }) => <div className="cut" title={g.message}><Link className="cell" href={jobsLink({ state: "dead_letter", error: g.type || g.code, task: task || undefined })}><span className="strong">{g.type || g.code}</span> <span className="soft">{g.message}</span></Link></div> }),
  group.accessor((g) => g.tasks.join(), { id: "task", header: "Task", meta: { className: "tight wide-only soft" }, cell: ({ row: { original: g } }) => <span title={g.tasks.join(", ")}>{g.tasks.length === 1 ? g.tasks[0] : plural(g.tasks.length, "task")}</span> }),
  group.accessor((g) => ms(g.newest_at), { id: "newest", header: "Newest", meta: { className: "num" }, cell: ({ row }) => <Ago at={row.original.newest_at} /> }),
  group.accessor((g) => ms(g.oldest_at), { id: "oldest", header: "Oldest", meta: { className: "num wide-only" }, cell: ({ row }) => <Ago at={row.original.oldest_at} /> }),
  group.display({ id: "ops", header: ACTIONS, meta: { className: "tight" }, cell: ({ row: { original: g } }) => <div className="ops">
    <Link className="button tiny" href={`/jobs/${g.sample}`}>Newest</Link>
    <Button needs="post /api/v1/dead-letters/replay" kind="tiny" icon="retry" onClick={() => ask({ kind: "replay", filter: of(g, task), title: named(g) })}>Replay</Button>
    <Button needs="post /api/v1/dead-letters/drop" kind="tiny bare" icon="trash" label={`Drop ${named(g)}`} onClick={() => ask({ kind: "drop", filter: of(g, task), title: named(g) })} />
  </div> }),
]);

const one = columnsOf<Job>();
const JOBS = one.columns([
  one.display({ id: "task", header: "Task", meta: { className: "tight" }, cell: ({ row: { original: job } }) => <Link className="cell strong" href={`/jobs/${job.id}`}>{job.task}</Link> }),
  one.display({ id: "id", header: "", meta: { className: "tight wide-only" }, cell: ({ row }) => <span className="mono faint">{tail(row.original.id)}</span> }),
  one.display({ id: "cause", header: "Cause", meta: { className: "fill" }, cell: ({ row: { original: job } }) => <div className="cut"><span className="bad">{job.error?.type || job.error?.code}</span> <span className="soft">{job.error?.message}</span></div> }),
  one.display({ id: "attempts", header: "Attempts", meta: { className: "num wide-only" }, cell: ({ row }) => row.original.attempt }),
  one.display({ id: "at", header: "Died", meta: { className: "num" }, cell: ({ row }) => <Ago at={row.original.finished_at} /> }),
]);

function List({ task }: { task: string }) {
  const [cursor, setCursor] = useParameter("cursor");
  const list = useJobs(searchFor({ state: "dead_letter", task: task || undefined }), cursor || null, 50);
  return (
    <>
      <Card>
        {list.isLoadingError ? <Failure error={list.error} /> : list.isPending ? <Bones /> : list.data.jobs.length === 0 ? <Empty icon="check" title="No dead letters" /> : (
          <Table label="Dead letters" rows={list.data.jobs} rowKey={(job) => job.id} columns={JOBS} />
        )}
      </Card>
      <div className="row"><span className="grow" /><Button disabled={!cursor} onClick={() => setCursor("")}>Newest</Button><Button disabled={!list.data?.next_cursor} onClick={() => setCursor(list.data?.next_cursor ?? "")}>Older</Button></div>
    </>
  );
}

const BATCH = 1_000;

function Question({ kind, filter, title, onClose }: Ask & { onClose: () => void }) {
  const [reason, setReason] = useState("");
  const [rate, setRate] = useState("");
  const [state, setState] = useState<{ busy: boolean; done: number; error: string | null }>({ busy: false, done: 0, error: null });
  const refresh = useRefresh();
  const which = filter.task || filter.group ? filter : { all: true };
  const preview = useQuery({
    queryKey: ["dead-preview", kind, filter],
    queryFn: () => post(kind === "replay" ? "/api/v1/dead-letters/replay" : "/api/v1/dead-letters/drop", { body: { ...which, dry_run: true, limit: 10_000 } as never }) as Promise<Schemas["Replayed"] | Schemas["Dropped"]>,
    staleTime: 0,
  });
  const matched = preview.data?.matched ?? 0;
  const run = async () => {
    let done = 0;
    setState({ busy: true, done, error: null });
    try {
      for (let more = true; more; ) {
        const common = { ...which, limit: BATCH, reason };
        if (kind === "replay") {
          const answer = await post("/api/v1/dead-letters/replay", { body: { ...common, rate: rate ? Number(rate) : null } as never });
          done += answer.replayed;
          // At a rate the next batch would begin now, too; one batch at a time keeps the promise.
          more = !answer.is_complete && answer.replayed > 0 && !rate;
        } else {
          const answer = await post("/api/v1/dead-letters/drop", { body: common as never });
          done += answer.dropped;
          more = !answer.is_complete && answer.dropped > 0;
        }
        setState({ busy: true, done, error: null });
      }
      toast(`${plural(done, "dead letter")} ${kind === "replay" ? "replayed" : "dropped"}`);
      onClose();
    } catch (problem) {
      setState({ busy: false, done, error: messageOf(problem) });
    } finally {
      refresh("dead", "jobs", "count");
    }
  };
  const verb = kind === "replay" ? "Replay" : "Drop";
  return (
    <Dialog
      title={`${verb} ${title}`}
      onClose={onClose}
      onSubmit={() => { if (!state.busy && matched > 0) void run(); }}
      footer={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button type="submit" kind={kind === "drop" ? "primary danger" : "primary"} disabled={state.busy || matched === 0}>
            {state.busy ? `${count(state.done)} so far …` : `${verb} ${preview.data ? `${count(matched)}${preview.data.is_complete ? "" : "+"}` : "…"}`}
          </Button>
        </>
      }
    >
      <p>
        {preview.isPending ? "Counting …" : preview.isError ? messageOf(preview.error) : <><span className="strong">{count(matched)}{preview.data.is_complete ? "" : " or more"}</span> {kind === "replay" ? "will run again, their counters of failures at zero." : "are deleted for good, with every attempt."}</>}
      </p>
      {filter.group && <p className="soft">Died of: <code>{[filter.group.type || filter.group.code, filter.group.message].filter(Boolean).join(": ")}</code></p>}
      {filter.task && <p className="soft">Task: <code>{filter.task}</code></p>}
      {kind === "replay" && <TextField label="At most so many a second" type="number" value={rate} onChange={setRate} hint={`Empty: all at once. With a rate, ${count(BATCH)} at a time.`} />}
      <TextField label="Reason" value={reason} onChange={setReason} first placeholder="Optional" hint="Goes into the audit trail." />
      {state.error && <p className="form-error" role="alert">{state.error} ({count(state.done)} done before)</p>}
    </Dialog>
  );
}
