/** The pages, and the keys that lead there after a `g`. */
import type { Deed } from "../api/session";
import type { IconName } from "../ui/Icon";

interface Place {
  path: string;
  name: string;
  icon: IconName;
  key: string;
  /** What it asks for first: who may not, is not led there. */
  needs: Deed;
}

export const PLACES: readonly Place[] = [
  { path: "/", name: "Overview", icon: "overview", key: "o", needs: "get /api/v1/live" },
  { path: "/jobs", name: "Jobs", icon: "jobs", key: "j", needs: "get /api/v1/jobs" },
  { path: "/queues", name: "Queues", icon: "queues", key: "q", needs: "get /api/v1/queues" },
  { path: "/workers", name: "Workers", icon: "workers", key: "w", needs: "get /api/v1/workers" },
  { path: "/schedules", name: "Schedules", icon: "schedules", key: "s", needs: "get /api/v1/scheduled-jobs" },
  { path: "/workflows", name: "Workflows", icon: "workflows", key: "f", needs: "get /api/v1/workflows" },
  { path: "/dead-letters", name: "Dead letters", icon: "dead", key: "d", needs: "get /api/v1/dead-letters" },
  { path: "/audit", name: "Audit", icon: "audit", key: "a", needs: "get /api/v1/events" },
  { path: "/settings", name: "Settings", icon: "settings", key: "e", needs: "get /api/v1/settings" },
];
