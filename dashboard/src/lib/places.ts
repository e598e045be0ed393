/** The pages, and the keys that lead there after a `g`. */
import type { IconName } from "../ui/Icon";

export const PLACES: readonly { path: string; name: string; icon: IconName; key: string }[] = [
  { path: "/", name: "Overview", icon: "overview", key: "o" },
  { path: "/jobs", name: "Jobs", icon: "jobs", key: "j" },
  { path: "/queues", name: "Queues", icon: "queues", key: "q" },
  { path: "/workers", name: "Workers", icon: "workers", key: "w" },
  { path: "/schedules", name: "Schedules", icon: "schedules", key: "s" },
  { path: "/workflows", name: "Workflows", icon: "workflows", key: "f" },
  { path: "/dead-letters", name: "Dead letters", icon: "dead", key: "d" },
  { path: "/audit", name: "Audit", icon: "audit", key: "a" },
  { path: "/settings", name: "Settings", icon: "settings", key: "e" },
];
