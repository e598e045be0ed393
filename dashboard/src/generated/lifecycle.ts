// Written by scripts/generate_dashboard.py from stoker/core/lifecycle.py. Do not edit.
// The API's description that schema.ts was made from: 562b11122f8b186f

export const STATES = ["blocked", "scheduled", "queued", "assigned", "running", "retry_queued", "completed", "dead_letter", "cancelled"] as const;
export type State = (typeof STATES)[number];
export const WAITING: readonly State[] = ["blocked", "scheduled", "queued", "retry_queued"];
export const LEASED: readonly State[] = ["assigned", "running"];
export const LIVE: readonly State[] = ["blocked", "scheduled", "queued", "assigned", "running", "retry_queued"];
export const TERMINAL: readonly State[] = ["completed", "dead_letter", "cancelled"];
export const PRIORITIES = ["high", "medium", "low"] as const;
export const KINDS = ["worker_joined", "worker_draining", "worker_left", "worker_died", "worker_commanded", "keeper_elected", "keeper_resigned", "queue_paused", "queue_resumed", "queue_limited", "schedule_put", "schedule_removed", "schedule_paused", "schedule_resumed", "schedule_fired", "workflow_submitted", "job_cancelled", "job_requeued", "job_dead", "job_lost", "jobs_purged", "key_created", "key_revoked", "logged_in", "logged_out", "jobs_handled", "fleet_started", "fleet_stopped", "fleet_restarted_worker", "fleet_renewed_worker", "fleet_scaled", "fleet_bounded", "fleet_gave_up_worker", "fleet_commanded"] as const;
export const MOVES: readonly (readonly [State, State])[] = [
  ["assigned", "cancelled"],
  ["assigned", "completed"],
  ["assigned", "dead_letter"],
  ["assigned", "queued"],
  ["assigned", "retry_queued"],
  ["assigned", "running"],
  ["assigned", "scheduled"],
  ["blocked", "cancelled"],
  ["blocked", "dead_letter"],
  ["blocked", "queued"],
  ["blocked", "scheduled"],
  ["cancelled", "blocked"],
  ["cancelled", "queued"],
  ["cancelled", "scheduled"],
  ["completed", "blocked"],
  ["completed", "queued"],
  ["completed", "scheduled"],
  ["dead_letter", "blocked"],
  ["dead_letter", "queued"],
  ["dead_letter", "scheduled"],
  ["queued", "assigned"],
  ["queued", "cancelled"],
  ["queued", "dead_letter"],
  ["retry_queued", "cancelled"],
  ["retry_queued", "dead_letter"],
  ["retry_queued", "queued"],
  ["running", "cancelled"],
  ["running", "completed"],
  ["running", "dead_letter"],
  ["running", "queued"],
  ["running", "retry_queued"],
  ["running", "scheduled"],
  ["scheduled", "cancelled"],
  ["scheduled", "dead_letter"],
  ["scheduled", "queued"],
];
