/** Light, dark, or what the system says; kept in this browser. */
export type Theme = "system" | "light" | "dark";

const KEY = "stoker.theme";

export function savedTheme(): Theme {
  const saved = read();
  return saved === "light" || saved === "dark" ? saved : "system";
}

export function applyTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // A browser may refuse to keep anything; then the choice lasts as long as the page.
  }
  window.dispatchEvent(new Event("stoker:theme"));
}

function read(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}
