/** One thing done to many jobs: a count first, then batch after batch, to be stopped at any time. */
import { useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { messageOf, post, type Schemas } from "../api/client";
import { useRefresh } from "../api/queries";
import { count, plural } from "../lib/format";
import { Button, Meter, TextField } from "../ui/controls";
import { Dialog } from "../ui/Dialog";
import { toast } from "../ui/toast";

export type Action = Schemas["BulkBody"]["action"];
export type Target = { ids: string[] } | { q: string };

const WORDS: Record<Action, { title: string; does: string; done: string; takes: string }> = {
  cancel: { title: "Cancel jobs", does: "will be called off", done: "called off", takes: "Jobs that have ended are left alone; those that run are told to stop." },
  retry: { title: "Retry jobs", does: "will run again", done: "brought back", takes: "Only jobs that have ended can run again." },
  delete: { title: "Delete jobs", does: "will be deleted for good", done: "deleted", takes: "Jobs that run are left alone: cancel them first." },
};
const BATCH = 500;

interface Progress {
  seen: number;
  done: number;
}

export function Bulk({ action, target, onClose, onDone }: { action: Action; target: Target; onClose: () => void; onDone: () => void }) {
  const words = WORDS[action];
  const [reason, setReason] = useState("");
  const [rate, setRate] = useState("");
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<string | null>(null);
  const stopped = useRef(false);
  const refresh = useRefresh();
  const selected = "ids" in target ? { ids: target.ids } : target.q ? { q: target.q } : { all: true };
  const preview = useQuery({
    queryKey: ["bulk", action, target],
    queryFn: () => post("/api/v1/jobs/bulk", { body: { action, ...selected, dry_run: true } }),
    staleTime: 0,
  });
  const matched = preview.data?.matched ?? 0;
  const working = progress !== null && error === null;

  const run = async () => {
    let cursor: string | null = null;
    let total: Progress = { seen: 0, done: 0 };
    setError(null);
    setProgress(total);
    stopped.current = false;
    try {
      do {
        const answer: Schemas["BulkAnswer"] = await post("/api/v1/jobs/bulk", {
          body: { action, ...selected, cursor, limit: BATCH, reason, rate: rate ? Number(rate) : null },
        });
        total = { seen: total.seen + answer.matched, done: total.done + answer.done };
        setProgress(total);
        cursor = answer.next_cursor;
      } while (cursor !== null && !stopped.current);
      toast(`${plural(total.done, "job")} ${words.done}${stopped.current ? ", then stopped" : ""}`);
      onDone();
      onClose();
    } catch (problem) {
      setError(`${messageOf(problem)} (${count(total.done)} ${words.done} before)`);
      setProgress(null);
    } finally {
      refresh("jobs", "count", "job", "dead", "queues");
    }
  };

  return (
    <Dialog
      title={words.title}
      onClose={() => {
        stopped.current = true;
        onClose();
      }}
      onSubmit={() => {
        if (!working && matched > 0 && reason.trim()) void run();
      }}
      footer={
        working ? (
          <Button onClick={() => { stopped.current = true; }}>Stop after this batch</Button>
        ) : (
          <>
            <Button onClick={onClose}>Back</Button>
            <Button type="submit" kind={action === "delete" ? "primary danger" : "primary"} disabled={matched === 0 || !reason.trim()}>
              {words.title.split(" ")[0]} {preview.data ? `${count(matched)}${preview.data.is_exact ? "" : "+"}` : "…"}
            </Button>
          </>
        )
      }
    >
      <p>
        {preview.isPending ? "Counting …" : preview.isError ? messageOf(preview.error) : (
          <><span className="strong">{count(matched)}{preview.data.is_exact ? "" : " or more"}</span> {matched === 1 ? "job" : "jobs"} {words.does}.</>
        )}{" "}
        <span className="soft">{words.takes}</span>
      </p>
      {"q" in target && <p className="soft">Search: <code>{target.q || "every job"}</code></p>}
      <TextField label="Reason" required first value={reason} onChange={setReason} hint="Goes into the audit trail." placeholder="the mail server is back" />
      {action === "retry" && (
        <TextField label="At most so many a second" type="number" value={rate} onChange={setRate} hint="Empty: all at once. They become due one after the other." />
      )}
      {progress && (
        <div className="progress" role="status">
          <span>{count(progress.done)} {words.done}</span>
          <Meter share={matched ? progress.seen / matched : 1} />
        </div>
      )}
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
