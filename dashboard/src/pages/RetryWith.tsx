/** Bring a job back with another payload. */
import { useState } from "react";
import { messageOf, post, read, write, type Job } from "../api/client";
import { Button, Field, TextField } from "../ui/controls";
import { Dialog } from "../ui/Dialog";

export function RetryWith({ job, onClose, onDone }: { job: Job; onClose: () => void; onDone: () => void }) {
  const [payload, setPayload] = useState(write(job.payload, 2));
  const [reason, setReason] = useState("");
  const [downstream, setDownstream] = useState(false);
  const [error, setError] = useState<string | null>(null);
  const run = async () => {
    setError(null);
    try {
      const value = read(payload) as Record<string, never>;
      await post("/api/v1/jobs/{job_id}/retry", { path: { job_id: job.id }, body: { payload: value, reason, downstream } });
      onDone();
      onClose();
    } catch (problem) {
      setError(problem instanceof SyntaxError ? `The payload is no JSON: ${problem.message}` : messageOf(problem));
    }
  };
  return (
    <Dialog
      title="Retry with changes"
      wide
      onClose={onClose}
      onSubmit={() => void run()}
      footer={<><Button onClick={onClose}>Back</Button><Button type="submit" kind="primary">Retry</Button></>}
    >
      <Field label="Payload">
        {(field) => <textarea {...field} className="textarea" rows={12} spellCheck={false} data-autofocus="" value={payload} onChange={(event) => setPayload(event.target.value)} />}
      </Field>
      <TextField label="Reason" value={reason} onChange={setReason} hint="Goes into the audit trail." placeholder="Optional" />
      {job.workflow_id && (
        <label className="row"><input type="checkbox" checked={downstream} onChange={(event) => setDownstream(event.target.checked)} />Also everything downstream of it</label>
      )}
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
