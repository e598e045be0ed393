/** What the pages ask for, and how long an answer stays good. */
import { QueryClient, useQuery, useQueryClient } from "@tanstack/react-query";
import { ApiError, get } from "./client";

const known = (error: unknown) => error instanceof ApiError && error.status >= 400 && error.status < 500;

export const client = new QueryClient({
  defaultOptions: {
    queries: { staleTime: 1_000, retry: (times, error) => times < 2 && !known(error), refetchOnWindowFocus: true },
  },
});

/** Asked for again when any job has moved. */
const live = { live: true };
const SLOW = 15_000;

export const useJobs = (q: string, cursor: string | null, size: number) =>
  useQuery({
    queryKey: ["jobs", q, cursor, size],
    queryFn: ({ signal }) => get("/api/v1/jobs", { query: { q: q || null, cursor, limit: size }, signal }),
    placeholderData: (before) => before,
    meta: live,
  });

export const useJobCount = (q: string, enabled: boolean) =>
  useQuery({
    queryKey: ["count", q],
    queryFn: ({ signal }) => get("/api/v1/jobs/count", { query: { q: q || null }, signal }),
    staleTime: 5_000,
    placeholderData: (before) => before,
    enabled,
  });

export const useSuggestions = (text: string, enabled: boolean) =>
  useQuery({
    queryKey: ["suggestions", text],
    queryFn: ({ signal }) => get("/api/v1/jobs/suggestions", { query: { text }, signal }),
    staleTime: 30_000,
    placeholderData: (before) => before,
    enabled,
  });

export const useJob = (id: string) =>
  useQuery({
    queryKey: ["job", id],
    queryFn: ({ signal }) => get("/api/v1/jobs/{job_id}", { path: { job_id: id }, signal }),
  });

export const useExplanation = (id: string, enabled: boolean) =>
  useQuery({
    queryKey: ["explain", id],
    queryFn: ({ signal }) => get("/api/v1/jobs/{job_id}/explain", { path: { job_id: id }, signal }),
    enabled,
    meta: live,
  });

export const useTasks = () =>
  useQuery({ queryKey: ["tasks"], queryFn: ({ signal }) => get("/api/v1/tasks", { signal }), staleTime: 60_000 });

export const useQueues = (enabled: boolean) =>
  useQuery({ queryKey: ["queues"], queryFn: ({ signal }) => get("/api/v1/queues", { signal }), meta: live, enabled });

export const useActivity = (by: "queue" | "task", window: number, enabled: boolean) =>
  useQuery({
    queryKey: ["activity", by, window],
    queryFn: ({ signal }) => get("/api/v1/activity", { query: { by, window }, signal }),
    meta: live,
    enabled,
  });

export const useStats = (window: number, enabled: boolean) =>
  useQuery({
    queryKey: ["stats", window],
    queryFn: ({ signal }) => get("/api/v1/stats", { query: { window }, signal }),
    refetchInterval: SLOW,
    placeholderData: (before) => before,
    enabled,
  });

export const useWorkers = (ended: boolean) =>
  useQuery({
    queryKey: ["workers", ended],
    queryFn: ({ signal }) => get("/api/v1/workers", { query: { ended }, signal }),
    refetchInterval: 3_000,
  });

export const useSchedules = () =>
  useQuery({
    queryKey: ["schedules"],
    queryFn: ({ signal }) => get("/api/v1/scheduled-jobs", { signal }),
    refetchInterval: SLOW,
  });

/** Ask again for everything that shows one of these. */
export function useRefresh(): (...keys: string[]) => void {
  const queries = useQueryClient();
  return (...keys) => {
    for (const key of keys) void queries.invalidateQueries({ queryKey: [key] });
  };
}
