/** Jobs that wait for jobs, newest first. */
import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, type Schemas } from "../api/client";
import { STATES } from "../generated/lifecycle";
import { useParameter } from "../lib/address";
import { between, count, length, tail, words } from "../lib/format";
import { Button } from "../ui/controls";
import { Bones, Card, Empty, Failure, Page, Table } from "../ui/parts";
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
          <Table
            label="Workflows"
            rows={flows}
            rowKey={(flow) => flow.id}
            columns={[
              { key: "state", head: "State", className: "tight", cell: (f) => <FlowState state={f.state} /> },
              { key: "name", head: "Workflow", className: "tight", cell: (f) => <Link className="cell strong" href={`/workflows/${f.id}`}>{f.name}</Link> },
              { key: "id", head: "", className: "tight wide-only", cell: (f) => <span className="mono faint" title={f.id}>{tail(f.id)}</span> },
              { key: "bar", head: "Jobs by state", className: "fill", cell: (f) => <StatesBar counts={f.counts} total={f.total} /> },
              { key: "total", head: "Done", className: "num", cell: (f) => <>{count(f.counts["completed"] ?? 0)} / {count(f.total)}</> },
              { key: "took", head: "Took", className: "num wide-only", cell: (f) => <Took flow={f} /> },
              { key: "at", head: "Submitted", className: "num", cell: (f) => <Ago at={f.submitted_at} /> },
            ]}
          />
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
