/**
 * Requests to the server, typed by its own OpenAPI document, and errors by their stable code.
 *
 * Numbers that JavaScript cannot hold arrive as `bigint`: a payload is shown as it is stored.
 */
import type { components, paths } from "../generated/schema";

export type Schemas = components["schemas"];
export type Job = Schemas["JobRecord"];
export type Stats = Schemas["Stats"];
export type Queue = Schemas["QueueStats"];
export type Worker = Schemas["SessionInfo"];
export type Schedule = Schemas["ScheduleView"];
export type ErrorInfo = Schemas["ErrorInfo"];

type Verb = "get" | "post" | "put" | "patch" | "delete";
type Operation<P extends keyof paths, V extends Verb> = V extends keyof paths[P] ? paths[P][V] : never;
type Json<C> = C extends { content: { "application/json": infer Content } } ? Content : never;
type Ok = 200 | 201 | 202;
export type Answer<O> = O extends { responses: infer R }
  ? { [S in keyof R & Ok]: Json<R[S]> }[keyof R & Ok]
  : never;
type Query<O> = O extends { parameters: { query?: infer Q } } ? Exclude<Q, undefined> : never;
type Body<O> = O extends { requestBody?: infer Sent } ? Partial<Json<Exclude<Sent, undefined>>> : never;
type PathsWith<V extends Verb> = {
  [P in keyof paths]: paths[P] extends Record<V, { responses: unknown }> ? P : never;
}[keyof paths];

export interface Options<O> {
  path?: Record<string, string>;
  query?: Query<O> | undefined;
  body?: Body<O> | undefined;
  signal?: AbortSignal | undefined;
}

/** An answer that is no success. `code` is stable; decide on it. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details: Record<string, unknown> = {},
  ) {
    super(message);
  }
}

/** Called when the server says that nobody is logged in. */
export const onUnauthenticated: { call: (() => void) | null } = { call: null };
let csrf: string | null = null;

/** Remember the token that changes must carry while a cookie says who asks. */
export function setToken(token: string | null): void {
  csrf = token;
}

export async function request<P extends PathsWith<V>, V extends Verb>(
  verb: V,
  path: P,
  options: Options<Operation<P, V>> = {},
): Promise<Answer<Operation<P, V>>> {
  return (await send(verb, address(path, options.path, options.query), options.body, options.signal)) as Answer<
    Operation<P, V>
  >;
}

export const get = <P extends PathsWith<"get">>(path: P, options: Options<Operation<P, "get">> = {}) =>
  request("get", path, options);
export const post = <P extends PathsWith<"post">>(path: P, options: Options<Operation<P, "post">> = {}) =>
  request("post", path, options);

export function address(path: string, names: Record<string, string> = {}, query?: unknown): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(names[name] ?? ""));
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries((query ?? {}) as Record<string, unknown>)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") search.append(key, String(one));
    }
  }
  const text = search.toString();
  return text ? `${filled}?${text}` : filled;
}

async function send(verb: string, url: string, body: unknown, signal?: AbortSignal): Promise<unknown> {
  const headers: Record<string, string> = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (verb !== "get" && csrf !== null) headers["x-csrf-token"] = csrf;
  const init: RequestInit = { method: verb.toUpperCase(), headers };
  if (body !== undefined) init.body = write(body);
  if (signal) init.signal = signal;
  let response: Response;
  try {
    response = await fetch(url, init);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "The server does not answer. It may be restarting.");
  }
  const text = await response.text();
  if (response.ok) return text ? read(text) : undefined;
  if (response.status === 401 && !url.endsWith("/me") && url !== "/login") onUnauthenticated.call?.();
  throw failure(response.status, text);
}

function failure(status: number, text: string): ApiError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; details?: Record<string, unknown> } };
    return new ApiError(status, error.code, error.message, error.details);
  } catch {
    return new ApiError(status, "unreadable", `The server answered ${status} without saying why.`);
  }
}

type Reviver = (this: unknown, key: string, value: unknown, context?: { source?: string }) => unknown;

const exact: Reviver = (_key, value, context) => {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source;
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value;
};

/** Read JSON; integers beyond 2^53 become `bigint`. */
export function read(text: string): unknown {
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown);
}

/** Write JSON; a `bigint` is written as the number that it is. */
export function write(value: unknown, indent?: number): string {
  const raw = (JSON as { rawJSON?: (text: string) => unknown }).rawJSON;
  const plain = (_: string, one: unknown) =>
    typeof one === "bigint" ? (raw ? raw(one.toString()) : Number(one)) : one;
  return JSON.stringify(value, plain, indent);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
