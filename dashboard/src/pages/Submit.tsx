/** Submit a job, or an old one again with changes. */
import { useState } from "react";
import { useLocation } from "wouter";
import { messageOf, post, read, write, type Job, type Schemas } from "../api/client";
import { useQueues, useRefresh, useTasks } from "../api/queries";
import { useMay } from "../api/session";
import { PRIORITIES } from "../generated/lifecycle";
import { Button, Field, TextField } from "../ui/controls";
import { Dialog } from "../ui/Dialog";
import { SuggestField } from "../ui/SuggestField";
import { toast } from "../ui/toast";

type Body = Partial<Schemas["SubmitBody"]>;

export function Submit({ from, onClose }: { from?: Job; onClose: () => void }) {
  const tasks = useTasks().data?.tasks ?? [];
  const may = useMay();
  const queues = useQueues(may("get /api/v1/queues")).data?.queues ?? [];
  const [, go] = useLocation();
  const refresh = useRefresh();
  const [task, setTask] = useState(from?.task ?? "");
  const [written, setPayload] = useState(from ? write(from.payload, 2) : null);
  const [queue, setQueue] = useState(from?.queue ?? "");
  const [priority, setPriority] = useState<string>(from?.priority ?? "medium");
  const [delay, setDelay] = useState("");
  const [retries, setRetries] = useState(from ? String(from.max_retries) : "");
  const [tenant, setTenant] = useState(from?.tenant ?? "");
  const [unique, setUnique] = useState("");
  const [error, setError] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const known = tasks.find((one) => one.name === task);
  const payload = written ?? (known?.payload_schema ? write(skeleton(known.payload_schema), 2) : "{}");

  const submit = async () => {
    setError(null);
    let value: unknown;
    try {
      value = read(payload);
    } catch (problem) {
      setError(`The payload is no JSON: ${messageOf(problem)}`);
      return;
    }
    const body: Record<string, unknown> = { task, payload: value, priority };
    const options = { queue, delay, tenant, unique_key: unique, max_retries: retries && Number(retries) };
    for (const [key, one] of Object.entries(options)) if (one !== "") body[key] = one;
    setBusy(true);
    try {
      const job = await post("/api/v1/jobs", { body: body as Body });
      toast("Submitted");
      refresh("jobs", "count");
      onClose();
      go(`/jobs/${job.id}`);
    } catch (problem) {
      setError(messageOf(problem));
    } finally {
      setBusy(false);
    }
  };

  return (
    <Dialog
      title={from ? "Submit again with changes" : "Submit a job"}
      wide
      onClose={onClose}
      onSubmit={() => void submit()}
      footer={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button type="submit" kind="primary" disabled={busy || !task}>{busy ? "Submitting …" : "Submit"}</Button>
        </>
      }
    >
      <SuggestField
        label="Task"
        value={task}
        first
        required
        known={tasks.map((one) => one.name)}
        hint={known?.description}
        onChange={setTask}
      />
      <Field label="Payload" hint={<Parameters schema={known?.payload_schema} />}>
        {(field) => (
          <textarea {...field} className="textarea" rows={9} spellCheck={false} value={payload} onChange={(event) => setPayload(event.target.value)} />
        )}
      </Field>
      <div className="fields">
        <SuggestField label="Queue" value={queue} onChange={setQueue} known={queues.map((one) => one.name)} placeholder={known?.queue ?? "the task's own"} />
        <Field label="Priority">
          {(field) => (
            <select {...field} className="select" value={priority} onChange={(event) => setPriority(event.target.value)}>
              {PRIORITIES.map((one) => <option key={one}>{one}</option>)}
            </select>
          )}
        </Field>
        <TextField label="Delay" value={delay} onChange={setDelay} placeholder="10m" />
        <TextField label="Retries" type="number" value={retries} onChange={setRetries} placeholder="the task's own" />
        <TextField label="Tenant" value={tenant} onChange={setTenant} />
        <TextField label="Unique key" value={unique} onChange={setUnique} />
      </div>
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}

interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  properties?: Record<string, { type?: string; default?: unknown }>;
  required?: string[];
}

/** The object that a schema describes: its own, or the definition that it points to. */
function described(schema: unknown): Schema {
  const { $ref, $defs, ...own } = (schema ?? {}) as Schema;
  return ($ref && $defs?.[$ref.split("/").at(-1) ?? ""]) || own;
}

/** The required parameters of a task, with an empty value of their type. */
export function skeleton(schema: unknown): Record<string, unknown> {
  const { properties = {}, required = [] } = described(schema);
  const blank: Record<string, unknown> = { string: "", integer: 0, number: 0, boolean: false, array: [], object: {} };
  return Object.fromEntries(required.map((name) => [name, blank[properties[name]?.type ?? "string"] ?? null]));
}

function Parameters({ schema }: { schema: unknown }) {
  const { properties, required = [] } = described(schema);
  if (!properties) return null;
  const names = Object.entries(properties).map(([name, one]) => `${name}${required.includes(name) ? "" : "?"}: ${one.type ?? "any"}`);
  return <code>{names.join(", ")}</code>;
}
