/**
 * The search box: `state:queued task:invoice.send error:"502 Bad" since:10m`.
 *
 * The server reads the language and says what is wrong; the page only takes terms apart and puts
 * them together. The address of the page holds the text, so a link keeps the search.
 */

export interface Term {
  /** Empty for a bare word. */
  key: string;
  values: string[];
  text: string;
  start: number;
}

const TERM = /(?:([A-Za-z_]+):)?((?:"(?:\\.|[^"\\])*"?|[^\s"])*)/g;
const VALUE = /"((?:\\.|[^"\\])*)"?|([^\s",]+)/g;

export function terms(text: string): Term[] {
  const found: Term[] = [];
  for (const match of text.matchAll(TERM)) {
    if (!match[0]) continue;
    const values = Array.from((match[2] ?? "").matchAll(VALUE), ([, quoted, bare]) =>
      quoted === undefined ? (bare ?? "") : quoted.replace(/\\(.)/g, "$1"),
    );
    found.push({ key: (match[1] ?? "").toLowerCase(), values, text: match[0], start: match.index });
  }
  return found;
}

export const quote = (value: string): string =>
  value !== "" && /^[^\s",]+$/.test(value) ? value : `"${value.replace(/["\\]/g, "\\$&")}"`;

/** The values of a qualifier. */
export const valuesOf = (text: string, key: string): string[] =>
  terms(text).filter((term) => term.key === key).flatMap((term) => term.values);

/** The text with one qualifier set to some values; none removes it. */
export function withValues(text: string, key: string, values: readonly string[]): string {
  const kept = terms(text).filter((term) => term.key !== key).map((term) => term.text);
  if (values.length > 0) kept.push(`${key}:${values.map(quote).join(",")}`);
  return kept.join(" ");
}

/** The term that is being typed at the end of the text; empty after a space. */
export function unfinished(text: string): string {
  const last = terms(text).at(-1);
  return last && last.start + last.text.length === text.length ? last.text : "";
}

/** The text with the term at its end replaced by a suggestion. */
export function complete(text: string, suggestion: string): string {
  const begun = text.slice(0, text.length - unfinished(text).length);
  return `${begun}${suggestion}${suggestion.endsWith(":") ? "" : " "}`;
}

/** The search that finds some jobs. */
export const searchFor = (values: Record<string, string | undefined>): string =>
  Object.entries(values)
    .flatMap(([key, value]) => (value === undefined ? [] : [`${key}:${quote(value)}`]))
    .join(" ");

/** The address of the list that shows some jobs. */
export function jobsLink(values: Record<string, string | undefined>): string {
  const text = searchFor(values);
  return text ? `/jobs?q=${encodeURIComponent(text)}` : "/jobs";
}
