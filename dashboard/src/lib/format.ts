/** Numbers, lengths of time and moments as people read them. Pure. */

const whole = new Intl.NumberFormat("en-US");
const dateTime = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

/** 1234567 → "1,234,567". */
export const count = (n: number): string => whole.format(n);

/** 1234567 → "1.23M"; below ten thousand exact. */
export function short(n: number): string {
  if (Math.abs(n) < 10_000) return whole.format(Math.round(n * 10) / 10);
  const [size, unit] = Math.abs(n) < 1e6 ? [1e3, "k"] : Math.abs(n) < 1e9 ? [1e6, "M"] : [1e9, "G"];
  return `${Number((n / size).toPrecision(3))}${unit}`;
}

/** Seconds as a length: "< 1 ms", "12 ms", "1.4 s", "3 min 20 s", "2 h 5 min", "4 d 2 h". */
export function length(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const s = Math.abs(seconds);
  if (s === 0) return "0 s";
  if (s < 0.001) return "< 1 ms";
  if (s < 1) return `${Number((s * 1000).toPrecision(s < 0.01 ? 2 : 3))} ms`;
  if (s < 10) return `${Number(s.toFixed(2))} s`;
  if (s < 60) return `${Number(s.toFixed(1))} s`;
  return pair(s);
}

function pair(s: number): string {
  const units: [number, string][] = [[86_400, "d"], [3_600, "h"], [60, "min"], [1, "s"]];
  const at = units.findIndex(([size]) => s >= size);
  const [big, bigName] = units[at] ?? [1, "s"];
  const first = Math.floor(s / big);
  const next = units[at + 1];
  const rest = next ? Math.floor((s - first * big) / next[0]) : 0;
  return next && rest ? `${first} ${bigName} ${rest} ${next[1]}` : `${first} ${bigName}`;
}

/** The same with one unit: "12 s", "3 min", "2 h", "4 d". */
export function brief(seconds: number): string {
  const s = Math.abs(seconds);
  if (s < 1) return "now";
  if (s < 60) return `${Math.floor(s)} s`;
  if (s < 3_600) return `${Math.floor(s / 60)} min`;
  if (s < 86_400) return `${Math.floor(s / 3_600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/** How long something has been going on: never "now". */
export const lasting = (seconds: number): string => (seconds < 1 ? "< 1 s" : brief(seconds));

/** How far a moment is from now: "12 s ago", "in 3 min". */
export function relative(moment: string | number, now: number): string {
  const seconds = (now - ms(moment)) / 1000;
  const text = brief(seconds);
  if (text === "now") return "now";
  return seconds >= 0 ? `${text} ago` : `in ${text}`;
}

export const ms = (moment: string | number): number => (typeof moment === "number" ? moment : Date.parse(moment));
export const full = (moment: string | number): string => dateTime.format(ms(moment));
export const time = (moment: string | number): string => clock.format(ms(moment));
export const date = (moment: string | number): string => day.format(ms(moment));

/** Seconds between two moments; null when one is missing. */
export function between(from: string | null | undefined, to: string | null | undefined): number | null {
  return from && to ? (ms(to) - ms(from)) / 1000 : null;
}

export const percent = (share: number | null): string =>
  share === null ? "–" : share > 0 && share < 0.001 ? "< 0.1 %" : `${Number((share * 100).toFixed(share < 0.1 ? 1 : 0))} %`;

/** Ids of jobs rise with time; their ends differ. */
export const tail = (id: string): string => id.slice(-8);

/** "dead_letter" → "dead letter". */
export const words = (name: string): string => name.replaceAll("_", " ");

export const plural = (n: number, one: string, many = `${one}s`): string => `${count(n)} ${n === 1 ? one : many}`;
