/** One workflow as a graph that lives while it runs. */
import { Background, Controls, Handle, Position, ReactFlow, type Edge, type Node, type NodeProps } from "@xyflow/react";
import { graphlib, layout as arrange } from "@dagrejs/dagre";
import "@xyflow/react/dist/base.css";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { Link } from "wouter";
import { get, post, type Schemas } from "../api/client";
import { useRefresh } from "../api/queries";
import { LEASED, LIVE } from "../generated/lifecycle";
import { useParameter } from "../lib/address";
import { between, count, length, percent, plural, tail, words } from "../lib/format";
import { jobsLink } from "../lib/search";
import { Button, Meter, StateBadge } from "../ui/controls";
import { Confirm } from "../ui/Dialog";
import { Bones, Card, Failure, Page } from "../ui/parts";
import { columnsOf, Table } from "../ui/Table";
import { Since } from "../ui/Time";
import { toast } from "../ui/toast";
import { FlowState, StatesBar } from "./Workflows";

const WIDTH = 190;
const HEIGHT = 60;
/** Beyond this a graph helps nobody; the table below shows everything. */
const DRAWN = 300;
/** Rows of the table, and what one look fetches while the workflow moves. */
const SIZE = 500;
type Graph = Schemas["GraphView"];
type Job = Schemas["GraphNode"];
type JobNode = Node<{ job: Job; chosen: boolean }, "job">;

export function WorkflowPage({ id }: { id: string }) {
  const [cursor, setCursor] = useParameter("cursor");
  const flow = useQuery({
    queryKey: ["workflow", id, cursor],
    queryFn: ({ signal }) => get("/api/v1/workflows/{workflow_id}/graph", { path: { workflow_id: id }, query: { cursor: cursor || null, limit: SIZE }, signal }),
    placeholderData: (before) => before,
    meta: { live: true },
  });
  if (flow.isPending) return <Page title="Workflow"><Card><Bones rows={8} /></Card></Page>;
  if (flow.isLoadingError) return <Page title="Workflow"><Card><Failure error={flow.error} retry={() => void flow.refetch()} /></Card></Page>;
  return <Shown flow={flow.data} cursor={cursor} onTurn={setCursor} />;
}

function Shown({ flow, cursor, onTurn }: { flow: Graph; cursor: string; onTurn: (cursor: string) => void }) {
  const [chosen, setChosen] = useState<string | null>(null);
  const [open, setOpen] = useState<"retry" | "cancel" | "node" | null>(null);
  const refresh = useRefresh();
  const job = flow.nodes.find((one) => one.id === chosen);
  const path = { workflow_id: flow.id };
  const done = (text: string) => {
    toast(text);
    refresh("workflow", "workflows", "jobs");
  };
  const again = async (node: string | null) => {
    const { answers } = await post("/api/v1/workflows/{workflow_id}/retry", { path, body: { from: node } });
    done(`${plural(answers.filter((one) => one.answer === "requeued").length, "job")} will run again`);
  };
  return (
    <Page
      title={flow.name}
      sub={<span className="row"><FlowState state={flow.state} /><span className="mono">{tail(flow.id)}</span></span>}
      actions={
        <>
          <Link className="button" href={jobsLink({ workflow: flow.id })}>Its jobs</Link>
          {/* Both stay where they are: a workflow that ends must not put another button under the hand. */}
          <Button needs="post /api/v1/workflows/{workflow_id}/cancel" icon="close" kind="danger" disabled={flow.state !== "running"} onClick={() => setOpen("cancel")}>Cancel</Button>
          <Button needs="post /api/v1/workflows/{workflow_id}/retry" icon="retry" kind="primary" disabled={flow.state === "running" || flow.state === "completed"} onClick={() => setOpen("retry")}>Retry what failed</Button>
        </>
      }
    >
      <Card
        title={`${count(flow.counts["completed"] ?? 0)} of ${plural(flow.total, "job")} completed`}
        end={flow.finished_at ? `took ${length(between(flow.submitted_at, flow.finished_at))}` : <>for <Since at={flow.submitted_at} /></>}
      >
        <div className="body"><StatesBar counts={flow.counts} total={flow.total} /></div>
        {flow.total <= DRAWN ? (
          <Drawn flow={flow} chosen={chosen} onChoose={setChosen} />
        ) : (
          <p className="body soft">{count(flow.total)} jobs are too many to draw; the table shows them.</p>
        )}
        {job && <Chosen key={job.id} job={job} onRetry={() => setOpen("node")} />}
      </Card>
      <Card title="Nodes" sub={flow.nodes.length < flow.total && `${count(flow.nodes.length)} of ${count(flow.total)}`}>
        <Table
          label="Nodes"
          rows={flow.nodes}
          rowKey={(one) => one.id}
          rowClass={(one) => (one.id === chosen ? "chosen" : "")}
          columns={COLUMNS}
          whole={flow.nodes.length === flow.total}
        />
      </Card>
      {(cursor || flow.next_cursor) && <div className="row"><span className="grow" /><Button disabled={!cursor} onClick={() => onTurn("")}>Newest</Button><Button disabled={!flow.next_cursor} onClick={() => onTurn(flow.next_cursor ?? "")}>Older</Button></div>}
      {open === "cancel" && (
        <Confirm title={`Cancel ${flow.name}`} action="Cancel the workflow" danger reason onClose={() => setOpen(null)}
          run={async (reason) => { await post("/api/v1/workflows/{workflow_id}/cancel", { path, body: { reason } }); done("The workflow is called off"); }}>
          Every job that has not ended is called off.
        </Confirm>
      )}
      {open === "retry" && (
        <Confirm title={`Retry ${flow.name}`} action="Retry" onClose={() => setOpen(null)} run={() => again(null)}>
          Runs again what did not complete; what completed keeps its result.
        </Confirm>
      )}
      {open === "node" && job && (
        <Confirm title={`Retry from ${job.node ?? job.task}`} action="Retry" onClose={() => setOpen(null)} run={() => again(job.node ?? job.id)}>
          Runs this node again, and everything downstream of it.
        </Confirm>
      )}
    </Page>
  );
}

const column = columnsOf<Job>();
const COLUMNS = column.columns([
  column.accessor("state", { header: "State", meta: { className: "tight" }, cell: ({ row }) => <StateBadge state={row.original.state} /> }),
  column.accessor((one) => one.node ?? one.id, { id: "node", header: "Node", meta: { className: "tight" }, cell: ({ row: { original: one } }) => <Link className="cell strong" href={`/jobs/${one.id}`}>{one.node ?? tail(one.id)}</Link> }),
  column.accessor("task", { header: "Task", meta: { className: "tight wide-only soft" }, cell: ({ row }) => row.original.task }),
  column.display({ id: "what", header: "", meta: { className: "fill" }, cell: ({ row }) => <div className="cut"><What job={row.original} /></div> }),
  column.accessor((one) => between(one.started_at, one.finished_at) ?? undefined, { id: "ran", header: "Ran for", sortUndefined: "last", meta: { className: "num" }, cell: ({ row }) => <Ran job={row.original} /> }),
]);

function Ran({ job }: { job: Job }) {
  if (LEASED.includes(job.state) && job.started_at) return <Since at={job.started_at} />;
  return <>{length(between(job.started_at, job.finished_at))}</>;
}

function What({ job }: { job: Job }) {
  if (job.state === "blocked") return <span className="soft">waits for {plural(job.waiting_for, "parent")}</span>;
  if (job.cause) return <span className="bad">{job.cause}</span>;
  if (LEASED.includes(job.state) && job.progress !== null) return <span className="row"><Meter share={job.progress} /><span className="soft">{percent(job.progress)}</span></span>;
  return null;
}

/** What the graph leaves out is fetched for the one node that somebody looks at. */
function Chosen({ job, onRetry }: { job: Job; onRetry: () => void }) {
  const whole = useQuery({
    queryKey: ["node", job.id, job.state],
    queryFn: ({ signal }) => get("/api/v1/jobs/{job_id}", { path: { job_id: job.id }, signal }),
    placeholderData: (before) => before,
  }).data;
  return (
    <div className="bulk" role="region" aria-label="Chosen node">
      <StateBadge state={job.state} />
      <span className="strong">{job.node ?? job.task}</span>
      <span className="soft cut grow">{whole?.error ? `${whole.error.type || whole.error.code}: ${whole.error.message}` : (whole?.progress_note ?? job.cause)}</span>
      <Link className="button tiny" href={`/jobs/${job.id}`}>Open the job</Link>
      {!LIVE.includes(job.state) && <Button needs="post /api/v1/workflows/{workflow_id}/retry" kind="tiny" icon="retry" onClick={onRetry}>Retry from here</Button>}
    </div>
  );
}

/** Where each job stands; only the shape decides, so nodes stay where they are while jobs move on. */
export function layout(jobs: readonly { id: string }[], edges: readonly { from: string; to: string }[]): Map<string, { x: number; y: number }> {
  const graph = new graphlib.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 18, ranksep: 60 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const job of jobs) graph.setNode(job.id, { width: WIDTH, height: HEIGHT });
  for (const edge of edges) graph.setEdge(edge.from, edge.to);
  arrange(graph);
  return new Map(jobs.map(({ id }) => {
    const at = graph.node(id) as { x: number; y: number };
    return [id, { x: at.x - WIDTH / 2, y: at.y - HEIGHT / 2 }];
  }));
}

function Drawn({ flow, chosen, onChoose }: { flow: Graph; chosen: string | null; onChoose: (id: string) => void }) {
  // A parent that was purged, or is on another page, has no place.
  const known = new Set(flow.nodes.map((job) => job.id));
  const lines = flow.edges.filter((edge) => known.has(edge.from));
  const shape = [...known].join() + lines.length;
  // eslint-disable-next-line react-hooks/exhaustive-deps -- the shape stands for jobs and edges
  const places = useMemo(() => layout(flow.nodes, lines), [shape]);
  const nodes: JobNode[] = flow.nodes.map((job) => ({
    id: job.id,
    type: "job",
    position: places.get(job.id) ?? { x: 0, y: 0 },
    data: { job, chosen: job.id === chosen },
  }));
  const edges: Edge[] = lines.map(({ from, to }) => ({ id: `${from} ${to}`, source: from, target: to }));
  return (
    <div className="canvas">
      <ReactFlow
        nodes={nodes}
        edges={edges}
        nodeTypes={TYPES}
        onNodesChange={(changes) => {
          // A click chooses a node, and so does Enter on the one that has the focus.
          for (const change of changes) if (change.type === "select" && change.selected) onChoose(change.id);
        }}
        nodesDraggable={false}
        edgesFocusable={false}
        nodesConnectable={false}
        fitView
        fitViewOptions={{ maxZoom: 1, padding: 0.12 }}
        minZoom={0.1}
        aria-label={`Graph of ${flow.name}`}
      >
        <Background gap={20} />
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  );
}

function GraphNode({ data: { job, chosen } }: NodeProps<JobNode>) {
  return (
    <div className={`node s-${job.state} ${chosen ? "chosen" : ""}`}>
      <Handle type="target" position={Position.Left} />
      <span className="strong cut">{job.node ?? job.task}</span>
      <span className="row"><span className="soft grow cut">{words(job.state)}</span><span className="faint">{length(between(job.started_at, job.finished_at)).replace("–", "")}</span></span>
      {LEASED.includes(job.state) && <Meter share={job.progress ?? 0} />}
      <Handle type="source" position={Position.Right} />
    </div>
  );
}

const TYPES = { job: GraphNode };
