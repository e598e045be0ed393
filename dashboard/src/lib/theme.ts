/** Light, dark, or what the system says; kept in this browser. */
import { keep, kept } from "./kept";

export type Theme = "system" | "light" | "dark";

const KEY = "stoker.theme";

export function savedTheme(): Theme {
  const saved = kept(KEY);
  return saved === "light" || saved === "dark" ? saved : "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  keep(KEY, theme);
  window.dispatchEvent(new Event("stoker:theme"));
}
