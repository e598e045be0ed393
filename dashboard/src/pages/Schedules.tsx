/** What submits jobs by the clock: its rule in words, its next firings, its history. */
import { useState } from "react";
import { Link, useLocation } from "wouter";
import { messageOf, post, read, request, write, type Schedule } from "../api/client";
import { useRefresh, useSchedules, useTasks } from "../api/queries";
import { count, date, full, length } from "../lib/format";
import { jobsLink } from "../lib/search";
import { Button, Field, Pill, Segments, TextField } from "../ui/controls";
import { Confirm, Dialog } from "../ui/Dialog";
import { Json } from "../ui/Json";
import { Bones, Card, Empty, Failure, Page } from "../ui/parts";
import { SuggestField } from "../ui/SuggestField";
import { Ago } from "../ui/Time";
import { tell, toast } from "../ui/toast";

type Open = { kind: "edit" | "remove"; schedule: Schedule } | { kind: "new" } | null;

export function Schedules() {
  const list = useSchedules();
  const [open, setOpen] = useState<Open>(null);
  const refresh = useRefresh();
  const schedules = list.data?.schedules ?? [];
  return (
    <Page
      title="Schedules"
      sub={list.data && count(schedules.length)}
      actions={<Button needs="post /api/v1/scheduled-jobs" kind="primary" icon="plus" onClick={() => setOpen({ kind: "new" })}>New schedule</Button>}
    >
      {list.isLoadingError ? <Card><Failure error={list.error} retry={() => void list.refetch()} /></Card> : list.isPending ? <Card><Bones /></Card> : schedules.length === 0 ? (
        <Card><Empty icon="schedules" title="No schedule yet"><code>stoker schedules add nightly "0 3 * * *" report</code></Empty></Card>
      ) : (
        schedules.map((schedule) => <One key={schedule.name} schedule={schedule} setOpen={setOpen} />)
      )}
      {(open?.kind === "new" || open?.kind === "edit") && (
        <Edit {...(open.kind === "edit" ? { schedule: open.schedule } : {})} onClose={() => setOpen(null)} />
      )}
      {open?.kind === "remove" && (
        <Confirm
          title={`Remove ${open.schedule.name}`} action="Remove" danger onClose={() => setOpen(null)}
          run={async () => {
            await request("delete", "/api/v1/scheduled-jobs/{name}", { path: { name: open.schedule.name } });
            toast(`${open.schedule.name} was removed`);
            refresh("schedules");
          }}
        >
          It fires no more. The jobs that it fired stay. A schedule that the code declares comes back with the next start.
        </Confirm>
      )}
    </Page>
  );
}

function One({ schedule, setOpen }: { schedule: Schedule; setOpen: (open: Open) => void }) {
  const [unfolded, setUnfolded] = useState(false);
  const [, go] = useLocation();
  const refresh = useRefresh();
  const path = { name: schedule.name };
  const turn = () =>
    tell(
      post(schedule.paused ? "/api/v1/scheduled-jobs/{name}/resume" : "/api/v1/scheduled-jobs/{name}/pause", { path }),
      schedule.paused ? `${schedule.name} fires again` : `${schedule.name} is paused`,
    ).then(() => refresh("schedules"));
  const fire = async () => {
    try {
      const job = await post("/api/v1/scheduled-jobs/{name}/run", { path });
      toast(`${schedule.name} fired`);
      go(`/jobs/${job.id}`);
    } catch (error) {
      toast(messageOf(error), "bad");
    }
  };
  return (
    <Card
      title={schedule.name}
      sub={<span className="row">{schedule.paused && <Pill tone="warn">paused</Pill>}<Link className="link soft" href={jobsLink({ task: schedule.task })}>{schedule.task}</Link></span>}
      end={
        <>
          <Button needs="post /api/v1/scheduled-jobs/{name}/run" kind="tiny" icon="play" onClick={() => void fire()} aria-label={`Run now: ${schedule.name}`}>Run now</Button>
          <Button needs="post /api/v1/scheduled-jobs/{name}/pause" kind="tiny" icon={schedule.paused ? "play" : "pause"} onClick={() => void turn()} aria-label={`${schedule.paused ? "Resume" : "Pause"} ${schedule.name}`}>{schedule.paused ? "Resume" : "Pause"}</Button>
          <Button needs="patch /api/v1/scheduled-jobs/{name}" kind="tiny bare" icon="edit" label={`Change ${schedule.name}`} onClick={() => setOpen({ kind: "edit", schedule })} />
          <Button needs="delete /api/v1/scheduled-jobs/{name}" kind="tiny bare" icon="trash" label={`Remove ${schedule.name}`} onClick={() => setOpen({ kind: "remove", schedule })} />
        </>
      }
    >
      <div className="body cols">
        <div className="span-5">
          <div className="strong">{schedule.in_words}</div>
          <div className="faint">
            <code>{schedule.cron_expression ?? `every ${length(schedule.interval)}`}</code> · {schedule.timezone} · missed firings: {schedule.catch_up}
          </div>
        </div>
        <div className="span-4">
          {schedule.paused ? <span className="faint">No firing while it is paused</span> : schedule.next_at ? (
            <><div>Next <Ago at={schedule.next_at} /></div><div className="faint">{full(schedule.next_at)}</div></>
          ) : <span className="faint">It never fires again</span>}
        </div>
        <div className="span-3">
          <div><Link className="link" href={jobsLink({ schedule: schedule.name })}>{count(schedule.fired)} fired</Link></div>
          <div className="faint">{schedule.last_at ? <>last <Ago at={schedule.last_at} />{schedule.last_job_id && <> · <Link className="link" href={`/jobs/${schedule.last_job_id}`}>its job</Link></>}</> : "never yet"}</div>
        </div>
        <div className="span-12">
          <button type="button" className="link faint small" aria-expanded={unfolded} onClick={() => setUnfolded(!unfolded)}>
            {unfolded ? "Less" : "Next firings and payload"}
          </button>
        </div>
        {unfolded && (
          <>
            <ol className="span-6 fires" aria-label="Next firings">
              {schedule.next_firings.map((at) => <li key={at}>{date(at)} <span className="faint">· <Ago at={at} /></span></li>)}
            </ol>
            <div className="span-6"><Json value={schedule.payload} /></div>
          </>
        )}
      </div>
    </Card>
  );
}

function Edit({ schedule, onClose }: { schedule?: Schedule; onClose: () => void }) {
  const tasks = useTasks().data?.tasks ?? [];
  const refresh = useRefresh();
  const [name, setName] = useState(schedule?.name ?? "");
  const [task, setTask] = useState(schedule?.task ?? "");
  const [kind, setKind] = useState<"cron" | "interval">(schedule && schedule.interval !== null ? "interval" : "cron");
  const [rule, setRule] = useState(schedule ? (schedule.cron_expression ?? `${schedule.interval}s`) : "");
  const [zone, setZone] = useState(schedule?.timezone ?? new Intl.DateTimeFormat().resolvedOptions().timeZone);
  const [payload, setPayload] = useState(write(schedule?.payload ?? {}, 2));
  const [error, setError] = useState<string | null>(null);
  const save = async () => {
    setError(null);
    try {
      const value = read(payload) as Record<string, never>;
      const what = { task, payload: value, timezone: zone, ...(kind === "cron" ? { cron_expression: rule } : { interval: rule }) };
      if (schedule) await request("patch", "/api/v1/scheduled-jobs/{name}", { path: { name: schedule.name }, body: what });
      else await post("/api/v1/scheduled-jobs", { body: { name, ...what } });
      toast(schedule ? `${schedule.name} was changed` : `${name} was made`);
      refresh("schedules");
      onClose();
    } catch (problem) {
      setError(problem instanceof SyntaxError ? `The payload is no JSON: ${problem.message}` : messageOf(problem));
    }
  };
  return (
    <Dialog
      title={schedule ? `Change ${schedule.name}` : "New schedule"}
      wide
      onClose={onClose}
      onSubmit={() => void save()}
      footer={<><Button onClick={onClose}>Back</Button><Button kind="primary" type="submit">Save</Button></>}
    >
      <div className="fields">
        {!schedule && <TextField label="Name" value={name} onChange={setName} first required placeholder="nightly-report" />}
        <SuggestField label="Task" value={task} onChange={setTask} known={tasks.map((one) => one.name)} required />
      </div>
      <div className="row">
        <Segments label="Kind of rule" value={kind} options={[["cron", "Cron"], ["interval", "Interval"]]} onChange={setKind} />
        <span className="faint small">{kind === "cron" ? "minute hour day month weekday; six fields begin with seconds" : "30s, 5m, 1h30m"}</span>
      </div>
      <div className="fields">
        <TextField label={kind === "cron" ? "Cron expression" : "Interval"} value={rule} onChange={setRule} required placeholder={kind === "cron" ? "0 3 * * MON-FRI" : "5m"} />
        <TextField label="Timezone" value={zone} onChange={setZone} />
      </div>
      <Field label="Payload">
        {(field) => <textarea {...field} className="textarea" rows={6} spellCheck={false} value={payload} onChange={(event) => setPayload(event.target.value)} />}
      </Field>
      {error && <p className="form-error" role="alert">{error}</p>}
    </Dialog>
  );
}
