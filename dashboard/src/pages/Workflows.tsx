/** Jobs that wait for jobs, newest first. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, type Schemas } from "../api/client";
import { STATES } from "../generated/lifecycle";
import { useParameter } from "../lib/address";
import { between, count, length, ms, tail, words } from "../lib/format";
import { Button } from "../ui/controls";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { columnsOf, Table } from "../ui/Table";
import { Ago, Since } from "../ui/Time";

type Info = Schemas["WorkflowInfo"];
const SIZE = 50;
export const FLOW_STATE: Record<string, string> = { running: "running", completed: "completed", failed: "dead_letter", cancelled: "cancelled" };

export function Workflows() {
  const [cursor, setCursor] = useParameter("cursor");
  const list = useQuery({
    queryKey: ["workflows", cursor],
    queryFn: ({ signal }) => get("/api/v1/workflows", { query: { cursor: cursor || null, limit: SIZE }, signal }),
    placeholderData: (before) => before,
    meta: { live: true },
  });
  const flows = list.data?.workflows ?? [];
  return (
    <Page title="Workflows">
      <Card>
        {list.isLoadingError ? <Failure error={list.error} retry={() => void list.refetch()} /> : list.isPending ? <Bones /> : flows.length === 0 ? (
          <Empty icon="workflows" title="No workflow yet"><code>flow = app.workflow("ingest"); flow.add(…); flow.submit()</code></Empty>
        ) : (
          <Table label="Workflows" rows={flows} rowKey={(flow) => flow.id} columns={COLUMNS} whole={!cursor && list.data.next_cursor === null} />
        )}
      </Card>
      <div className="row">
        <span className="grow" />
        <Button disabled={!cursor} onClick={() => setCursor("")}>Newest</Button>
        <Button disabled={!list.data?.next_cursor} onClick={() => setCursor(list.data?.next_cursor ?? "")}>Older</Button>
      </div>
    </Page>
  );
}

const column = columnsOf<Info>();
const COLUMNS = column.columns([
  column.accessor("state", { header: "State", meta: { className: "tight" }, cell: ({ row }) => <FlowState state={row.original.state} /> }),
  column.accessor("name", { header: "Workflow", meta: { className: "tight" }, cell: ({ row: { original: f } }) => <Link className="cell strong" href={`/workflows/${f.id}`}>{f.name}</Link> }),
  column.display({ id: "id", header: "", meta: { className: "tight wide-only" }, cell: ({ row: { original: f } }) => <span className="mono faint" title={f.id}>{tail(f.id)}</span> }),
  column.display({ id: "bar", header: "Jobs by state", meta: { className: "fill" }, cell: ({ row: { original: f } }) => <StatesBar counts={f.counts} total={f.total} /> }),
  column.accessor((f) => (f.counts["completed"] ?? 0) / Math.max(1, f.total), { id: "done", header: "Done", meta: { className: "num" }, cell: ({ row: { original: f } }) => <>{count(f.counts["completed"] ?? 0)} / {count(f.total)}</> }),
  // One that runs has taken longer than any of those that ended can be compared with.
  column.accessor((f) => between(f.submitted_at, f.finished_at) ?? Number.POSITIVE_INFINITY, { id: "took", header: "Took", meta: { className: "num wide-only" }, cell: ({ row }) => <Took flow={row.original} /> }),
  column.accessor((f) => ms(f.submitted_at), { id: "at", header: "Submitted", meta: { className: "num" }, cell: ({ row }) => <Ago at={row.original.submitted_at} /> }),
]);

export function FlowState({ state }: { state: string }) {
  return <span className={`state s-${FLOW_STATE[state] ?? "queued"}`}><i className="dot" />{words(state)}</span>;
}

const Took = ({ flow }: { flow: Info }) =>
  flow.finished_at ? <>{length(between(flow.submitted_at, flow.finished_at))}</> : <Since at={flow.submitted_at} />;

/** The states of a workflow's jobs as one bar. */
export function StatesBar({ counts, total }: { counts: Record<string, number>; total: number }) {
  const parts: { state: string; x: number; width: number }[] = [];
  for (const state of STATES) {
    const width = ((counts[state] ?? 0) / Math.max(1, total)) * 100;
    const before = parts.at(-1);
    if (width > 0) parts.push({ state, x: before ? before.x + before.width : 0, width });
  }
  const label = STATES.filter((state) => counts[state]).map((state) => `${counts[state]} ${words(state)}`).join(", ");
  return (
    <svg className="bar-of-states" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label={label}>
      <title>{label}</title>
      {parts.map((part) => <rect key={part.state} className={`s-${part.state}`} x={part.x} width={part.width} height="6" fill="var(--dot)" />)}
    </svg>
  );
}
