/** API keys: make one, see it once, revoke it. */
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { get, messageOf, post, request, type Schemas } from "../api/client";
import { useRefresh } from "../api/queries";
import { useMay } from "../api/session";
import { ms } from "../lib/format";
import { Button, Copy, Pill, TextField } from "../ui/controls";
import { Confirm, Dialog } from "../ui/Dialog";
import { Bones, Card, Empty, Failure } from "../ui/parts";
import { ACTIONS, columnsOf, Table } from "../ui/Table";
import { Ago } from "../ui/Time";
import { toast } from "../ui/toast";

type Key = Schemas["KeyView"];
type Scope = Schemas["KeyBody"]["scopes"][number];
const SCOPES: readonly (readonly [Scope, string])[] = [
  ["read", "look at everything"],
  ["submit", "submit jobs"],
  ["operate", "cancel, retry, pause, drain"],
  ["admin", "all of that, and keys"],
  ["worker", "lease and settle jobs"],
];

export function Keys() {
  const may = useMay()("get /api/v1/api-keys");
  const list = useQuery({ queryKey: ["keys"], queryFn: ({ signal }) => get("/api/v1/api-keys", { signal }), enabled: may });
  const [open, setOpen] = useState<"new" | Key | null>(null);
  const refresh = useRefresh();
  const columns = useMemo(() => columnsFor(setOpen), []);
  if (!may) return null;
  const keys = list.data?.keys ?? [];
  return (
    <Card title="API keys" end={<Button kind="tiny" icon="plus" onClick={() => setOpen("new")}>New key</Button>}>
      {list.isLoadingError ? <Failure error={list.error} retry={() => void list.refetch()} /> : list.isPending ? <Bones rows={2} /> : keys.length === 0 ? (
        <Empty icon="keys" title="No key yet">Without keys the server answers this machine only.</Empty>
      ) : (
        <Table label="API keys" rows={keys} rowKey={(key) => key.id} columns={columns} whole />
      )}
      {open === "new" && <Make onClose={() => setOpen(null)} />}
      {open !== null && open !== "new" && (
        <Confirm
          title={`Revoke ${open.name}`} action="Revoke" danger onClose={() => setOpen(null)}
          run={async () => {
            await request("delete", "/api/v1/api-keys/{key}", { path: { key: open.id } });
            toast(`${open.name} is revoked`);
            refresh("keys");
          }}
        >
          Whoever uses it is refused from now on, and log-ins made with it end.
        </Confirm>
      )}
    </Card>
  );
}

const column = columnsOf<Key>();
const at = (moment: string | null) => (moment ? ms(moment) : undefined);

const columnsFor = (revoke: (key: Key) => void) => column.columns([
  column.accessor("name", { header: "Name", meta: { className: "tight" }, cell: ({ row: { original: key } }) => <span className="row"><span className="strong">{key.name}</span><Standing of={key} /></span> }),
  column.accessor((key) => key.scopes.join(), { id: "scopes", header: "May", meta: { className: "fill" }, cell: ({ row: { original: key } }) => <div className="cut">{key.scopes.join(", ")}<span className="faint">{key.tenant && ` · tenant ${key.tenant}`}{key.queues.length > 0 && ` · ${key.queues.join(", ")}`}</span></div> }),
  column.accessor((key) => at(key.created_at), { id: "made", header: "Made", meta: { className: "num wide-only" }, cell: ({ row }) => <Ago at={row.original.created_at} /> }),
  column.accessor((key) => at(key.last_used_at), { id: "used", header: "Last used", sortUndefined: "last", meta: { className: "num" }, cell: ({ row }) => <Ago at={row.original.last_used_at} /> }),
  column.accessor((key) => at(key.expires_at), { id: "expires", header: "Expires", sortUndefined: "last", meta: { className: "num wide-only" }, cell: ({ row }) => <Ago at={row.original.expires_at} /> }),
  column.display({ id: "ops", header: ACTIONS, meta: { className: "tight" }, cell: ({ row: { original: key } }) => !key.revoked_at && <Button kind="tiny danger" aria-label={`Revoke ${key.name}`} onClick={() => revoke(key)}>Revoke</Button> }),
]);

function Standing({ of: key }: { of: Key }) {
  return key.revoked_at ? <Pill tone="bad">revoked</Pill> : null;
}

function Make({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState<ReadonlySet<Scope>>(new Set(["read"]));
  const [queues, setQueues] = useState("");
  const [tenant, setTenant] = useState("");
  const [expires, setExpires] = useState("90d");
  const [made, setMade] = useState<string | null>(null);
  const [error, setError] = useState<string | null>(null);
  const refresh = useRefresh();
  const make = async () => {
    setError(null);
    try {
      const { key } = await post("/api/v1/api-keys", {
        body: { name, scopes: [...scopes], queues: queues.split(/[\s,]+/).filter(Boolean), tenant: tenant || null, expires: expires || null },
      });
      setMade(key);
      refresh("keys");
    } catch (problem) {
      setError(messageOf(problem));
    }
  };
  if (made !== null) {
    return (
      <Dialog title={`The key ${name}`} onClose={onClose} onSubmit={onClose} footer={<Button kind="primary" type="submit">Done</Button>}>
        <p>Copy it now: it is shown this once, and only its hash is kept.</p>
        <div className="row"><code className="trace grow">{made}</code><Copy text={made} label="Copy the key" /></div>
      </Dialog>
    );
  }
  const turn = (scope: Scope) => {
    const next = new Set(scopes);
    if (!next.delete(scope)) next.add(scope);
    setScopes(next);
  };
  return (
    <Dialog
      title="New API key" onClose={onClose} onSubmit={() => void make()}
      footer={<><Button onClick={onClose}>Back</Button><Button kind="primary" type="submit" disabled={!name || scopes.size === 0}>Make the key</Button></>}
    >
      <TextField label="Name" value={name} onChange={setName} first required placeholder="ci" hint="The audit trail names it." />
      <fieldset className="scopes">
        <legend>It may</legend>
        {SCOPES.map(([scope, what]) => (
          <label key={scope} className="row"><input type="checkbox" checked={scopes.has(scope)} onChange={() => turn(scope)} /><span className="strong">{scope}</span><span className="faint">{what}</span></label>
        ))}
      </fieldset>
      <div className="fields">
        <TextField label="Only these queues" value={queues} onChange={setQueues} placeholder="all" />
        <TextField label="Only this tenant" value={tenant} onChange={setTenant} placeholder="all" />
        <TextField label="Expires in" value={expires} onChange={setExpires} placeholder="never" />
      </div>
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
