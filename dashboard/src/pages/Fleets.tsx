/** Supervisors on any machine: their kinds and workers; more, fewer, drain, stop, reload. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get, post, type Schemas } from "../api/client";
import { useRefresh } from "../api/queries";
import { useMay } from "../api/session";
import { length, ms, plural } from "../lib/format";
import { Button, Dot, Pill, TextField } from "../ui/controls";
import { Confirm } from "../ui/Dialog";
import { Card, Failure } from "../ui/parts";
import { ACTIONS, columnsOf, Table } from "../ui/Table";
import { Ago, Since, useNow } from "../ui/Time";
import { toast } from "../ui/toast";

export type Fleet = Schemas["FleetInfo"];
type Kind = Schemas["FleetKind"];
type Member = Schemas["FleetWorker"];
type Ask = { act: "scale"; fleet: Fleet; kind: Kind } | { act: "drain" | "stop" | "reload"; fleet: Fleet };

const GONE = new Set(["left", "dead"]);
const SHOWN = 20;
const WORDS = { starting: "starting", ready: "ready", draining: "draining", backing_off: "backing off" } as const;
const TONES = { starting: "warn", ready: "good", draining: "warn", backing_off: "bad" } as const;

export const useFleets = (ended: boolean, enabled: boolean) =>
  useQuery({
    queryKey: ["fleets", ended],
    queryFn: ({ signal }) => get("/api/v1/fleets", { query: { ended }, signal }),
    refetchInterval: 3_000,
    enabled,
  });

export function Fleets({ ended }: { ended: boolean }) {
  const may = useMay();
  const list = useFleets(ended, may("get /api/v1/fleets"));
  const [ask, setAsk] = useState<Ask | null>(null);
  return (
    <>
      {list.isLoadingError && <Card title="Fleets"><Failure error={list.error} retry={() => void list.refetch()} /></Card>}
      {list.data?.fleets.map((fleet) => <OneFleet key={fleet.id} fleet={fleet} onAsk={setAsk} />)}
      {ask?.act === "scale" && <Scale fleet={ask.fleet} kind={ask.kind} onClose={() => setAsk(null)} />}
      {ask && ask.act !== "scale" && <Question act={ask.act} fleet={ask.fleet} onClose={() => setAsk(null)} />}
    </>
  );
}

export function OneFleet({ fleet, onAsk }: { fleet: Fleet; onAsk: (ask: Ask) => void }) {
  const now = useNow();
  const gone = GONE.has(fleet.state);
  const silent = !gone && ms(fleet.expires_at) < now;
  const ready = fleet.kinds.reduce((sum, kind) => sum + kind.ready, 0);
  const wanted = fleet.kinds.reduce((sum, kind) => sum + kind.wanted, 0);
  const failing = fleet.kinds.some((kind) => kind.is_failing);
  const tone = gone ? "off" : silent || failing ? "bad" : ready < wanted ? "warn" : "good";
  const ends = fleet.state !== "alive";
  const scales = !gone && !silent && !ends;
  const columns = useMemo(() => kindsOf(fleet, scales ? onAsk : null), [fleet, scales, onAsk]);
  return (
    <Card
      title={<span className="row"><Dot tone={tone} />Fleet {fleet.name}</span>}
      sub={<span className="row wrap">
        {ends && <Pill tone={fleet.state === "dead" ? "bad" : "warn"}>{fleet.state}</Pill>}
        {silent && <Pill tone="bad">silent</Pill>}
        <span>{ready} of {plural(wanted, "worker")} ready · {fleet.host} · pid {fleet.pid} · seen <Ago at={fleet.seen_at} /></span>
      </span>}
      end={!gone && !silent && (
        <>
          <Button needs="post /api/v1/fleets/{fleet}/reload" kind="tiny" disabled={ends} onClick={() => onAsk({ act: "reload", fleet })} aria-label={`Reload fleet ${fleet.name}`}>Reload</Button>
          <Button needs="post /api/v1/fleets/{fleet}/drain" kind="tiny" disabled={ends} onClick={() => onAsk({ act: "drain", fleet })} aria-label={`Drain fleet ${fleet.name}`}>Drain</Button>
          <Button needs="post /api/v1/fleets/{fleet}/stop" kind="tiny danger" icon="stop" onClick={() => onAsk({ act: "stop", fleet })} aria-label={`Stop fleet ${fleet.name}`}>Stop</Button>
        </>
      )}
    >
      <Table label={`Kinds of workers in fleet ${fleet.name}`} rows={fleet.kinds} rowKey={(kind) => kind.name} columns={columns} whole />
      {!gone && <Members fleet={fleet} />}
    </Card>
  );
}

const column = columnsOf<Kind>();
const kindsOf = (fleet: Fleet, ask: ((ask: Ask) => void) | null) => column.columns([
  column.accessor("name", { header: "Kind", cell: ({ row: { original: one } }) => <span className="row"><span className="strong">{one.name}</span>{one.program !== "python" && <Pill>{one.program}</Pill>}{one.is_failing && <Pill tone="bad">cannot run</Pill>}</span> }),
  column.accessor("ready", { header: "Ready", meta: { className: "num" }, cell: ({ row: { original: one } }) => `${one.ready} / ${one.wanted}` }),
  column.accessor("max", { id: "bounds", header: "Bounds", meta: { className: "num" }, cell: ({ row: { original: one } }) => <>{one.is_changed && <Pill tone="warn">changed</Pill>} {one.min}–{one.max}</> }),
  column.accessor("concurrency", { header: "Slots each", meta: { className: "num wide-only" }, cell: ({ row }) => row.original.concurrency }),
  column.accessor("start_within", { header: "Starts within", meta: { className: "num wide-only" }, cell: ({ row }) => length(row.original.start_within) }),
  column.accessor((one) => one.queues.join(", "), { id: "queues", header: "Queues", meta: { className: "wide-only" }, cell: ({ getValue }) => <span className="cut" title={getValue()}>{getValue() || "all"}</span> }),
  column.display({ id: "why", header: "Why so many", meta: { className: "fill wide-only" }, cell: ({ row: { original: one } }) => <span className="soft cut" title={one.reason}>{one.reason}</span> }),
  column.display({ id: "ops", header: ACTIONS, meta: { className: "tight" }, cell: ({ row: { original: one } }) => ask && (
    <div className="ops"><Button needs="post /api/v1/fleets/{fleet}/scale" kind="tiny" onClick={() => ask({ act: "scale", fleet, kind: one })} aria-label={`Scale ${one.name} of fleet ${fleet.name}`}>Scale</Button></div>
  ) }),
]);

const member = columnsOf<Member>();
const MEMBERS = member.columns([
  member.accessor("name", { header: "Worker", cell: ({ row }) => <span className="cut">{row.original.name}</span> }),
  member.accessor((worker) => WORDS[worker.state], { id: "state", header: "State", meta: { className: "tight" }, cell: ({ row }) => <State worker={row.original} /> }),
  member.accessor((worker) => worker.pid ?? undefined, { id: "pid", header: "pid", sortUndefined: "last", meta: { className: "num wide-only" }, cell: ({ row }) => row.original.pid ?? "–" }),
  member.accessor((worker) => (worker.started_at ? -ms(worker.started_at) : undefined), { id: "up", header: "Up for", sortUndefined: "last", meta: { className: "num" }, cell: ({ row: { original: worker } }) => worker.started_at ? <Since at={worker.started_at} /> : "–" }),
  member.accessor("restarts", { header: "Restarts", meta: { className: "num" }, cell: ({ row }) => row.original.restarts }),
  member.display({ id: "exit", header: "Last exit", meta: { className: "fill" }, cell: ({ row: { original: worker } }) => <span className="soft cut" title={worker.last_exit ?? ""}>{worker.last_exit ?? ""}{worker.quick_deaths > 1 && `, ${worker.quick_deaths} times in a row`}</span> }),
]);

const TROUBLE = ["backing_off", "starting", "draining", "ready"];

/** Every worker of a fleet, whoever is in trouble first. */
function Members({ fleet }: { fleet: Fleet }) {
  const [all, setAll] = useState(false);
  const sorted = useMemo(() => fleet.workers.toSorted((a, b) => TROUBLE.indexOf(a.state) - TROUBLE.indexOf(b.state)), [fleet.workers]);
  const shown = all ? sorted : sorted.slice(0, SHOWN);
  if (sorted.length === 0) return null;
  return (
    <>
      <Table label={`Workers of fleet ${fleet.name}`} rows={shown} rowKey={(worker) => worker.name} columns={MEMBERS} whole={shown.length === sorted.length} />
      {sorted.length > shown.length && <div className="body"><Button kind="tiny bare" onClick={() => setAll(true)}>{sorted.length - shown.length} more</Button></div>}
    </>
  );
}

function State({ worker }: { worker: Member }) {
  return <span className="row"><Dot tone={TONES[worker.state]} />{WORDS[worker.state]}</span>;
}

function Scale({ fleet, kind, onClose }: { fleet: Fleet; kind: Kind; onClose: () => void }) {
  const refresh = useRefresh();
  const [min, setMin] = useState(String(kind.min));
  const [max, setMax] = useState(String(kind.max));
  const run = async (reason: string) => {
    await post("/api/v1/fleets/{fleet}/scale", { path: { fleet: fleet.id }, body: { kind: kind.name, min: Number(min), max: Number(max), reason } });
    toast(`Fleet ${fleet.name} was told to have ${min} to ${max} ${kind.name} workers`);
    refresh("fleets", "workers");
  };
  return (
    <Confirm title={`Scale ${kind.name} of fleet ${fleet.name}`} action="Scale" reason onClose={onClose} run={run}>
      <div className="stack">
        <TextField label="Fewest workers" type="number" value={min} onChange={setMin} required first />
        <TextField label="Most workers" type="number" value={max} onChange={setMax} required hint="As many as the fewest: just so many" />
        <span>These bounds hold until the fleet is reloaded or restarted. Workers that are too many finish what they hold before they leave: no job is interrupted.</span>
      </div>
    </Confirm>
  );
}

const TEXTS = {
  drain: ["Drain", "drains", "All of its workers finish what they run within their time and leave; then the fleet ends. Whoever started it may start it again."],
  stop: ["Stop", "was told to stop", "All of its workers interrupt what they run, give it back uncounted, and leave; then the fleet ends."],
  reload: ["Reload", "replaces its workers", "Its workers are replaced one by one, each when it holds nothing, and the bounds go back to those of its configuration."],
} as const;

function Question({ act, fleet, onClose }: { act: "drain" | "stop" | "reload"; fleet: Fleet; onClose: () => void }) {
  const refresh = useRefresh();
  const [action, done, text] = TEXTS[act];
  const run = async (reason: string) => {
    await post(`/api/v1/fleets/{fleet}/${act}`, { path: { fleet: fleet.id }, body: { reason } });
    toast(`Fleet ${fleet.name} ${done}`);
    refresh("fleets", "workers");
  };
  return (
    <Confirm title={`${action} fleet ${fleet.name} on ${fleet.host}`} action={action} danger={act === "stop"} reason onClose={onClose} run={run}>
      {text}
    </Confirm>
  );
}
