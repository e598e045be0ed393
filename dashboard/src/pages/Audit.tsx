/** What happened to the system, and who did it. */
import { useQuery } from "@tanstack/react-query";
import { useMemo } from "react";
import { Link } from "wouter";
import { get, write, type Schemas } from "../api/client";
import { KINDS } from "../generated/lifecycle";
import { useParameter } from "../lib/address";
import { full, tail, words } from "../lib/format";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { columnsOf, Table } from "../ui/Table";
import { Ago } from "../ui/Time";

type Line = Schemas["EventRecord"];
const SIZE = 200;
const BAD = new Set(["worker_died", "job_dead", "job_lost"]);
const DONE_BY_PEOPLE = /^(api|cli|key):/;

export function Audit() {
  const [kind, setKind] = useParameter("kind");
  const [actor, setActor] = useParameter("actor");
  const list = useQuery({
    queryKey: ["events", kind, actor],
    queryFn: ({ signal }) =>
      get("/api/v1/events", { query: { limit: SIZE, ...(kind ? { kind: [kind as Schemas["Kind"]] } : {}), ...(actor ? { actor } : {}) }, signal }),
    meta: { live: true },
    placeholderData: (before) => before,
  });
  const events = list.data?.events ?? [];
  const columns = useMemo(() => columnsFor(setActor), [setActor]);
  return (
    <Page title="Audit" sub="newest first">
      <div className="row wrap">
        <label className="row">
          <span className="faint">Event</span>
          <select className="select" value={kind} onChange={(event) => setKind(event.target.value)}>
            <option value="">every kind</option>
            {KINDS.map((one) => <option key={one} value={one}>{words(one)}</option>)}
          </select>
        </label>
        {actor && <button type="button" className="button tiny" onClick={() => setActor("")}>by {actor} ×</button>}
      </div>
      <Card>
        {list.isLoadingError ? <Failure error={list.error} retry={() => void list.refetch()} /> : list.isPending ? <Bones rows={10} /> : events.length === 0 ? (
          <Empty icon="audit" title="Nothing of this kind happened" />
        ) : (
          <Table label="Events" rows={events} rowKey={(event) => String(event.seq)} columns={columns} />
        )}
      </Card>
    </Page>
  );
}

const column = columnsOf<Line>();

const columnsFor = (setActor: (actor: string) => void) => column.columns([
  column.display({ id: "at", header: "When", meta: { className: "tight" }, cell: ({ row: { original: e } }) => <span title={full(e.at)}><Ago at={e.at} /></span> }),
  column.display({ id: "kind", header: "What", meta: { className: "tight" }, cell: ({ row: { original: e } }) => <span className={BAD.has(e.kind) ? "bad strong" : "strong"}>{words(e.kind)}</span> }),
  column.display({ id: "on", header: "On", meta: { className: "tight" }, cell: ({ row }) => <On event={row.original} /> }),
  column.display({ id: "details", header: "Details", meta: { className: "fill" }, cell: ({ row: { original: e } }) => <div className="cut soft" title={write(e.details, 1)}>{details(e)}</div> }),
  column.display({ id: "actor", header: "By", meta: { className: "tight" }, cell: ({ row: { original: e } }) => <button type="button" className={`link ${DONE_BY_PEOPLE.test(e.actor) ? "strong" : "soft"}`} onClick={() => setActor(e.actor)}>{e.actor}</button> }),
]);

function On({ event }: { event: Line }) {
  if (event.job_id) return <Link className="link mono" href={`/jobs/${event.job_id}`} title={event.job_id}>{tail(event.job_id)}</Link>;
  return <span>{event.queue ?? event.worker ?? ""}</span>;
}

/** Moments stand in the trail as seconds since 1970. */
const detail = (key: string, value: unknown): string =>
  typeof value === "string" ? value : /(^|_)at$/.test(key) && typeof value === "number" ? full(value * 1000) : write(value);

function details(event: Line): string {
  return Object.entries(event.details as Record<string, unknown>)
    .filter(([, value]) => value !== "" && value !== null)
    .map(([key, value]) => `${words(key)}: ${detail(key, value)}`)
    .join(" · ");
}
