/** A part of the page's state that stands in its address, so that a link keeps it. */
import { useCallback } from "react";
import { useLocation, useSearch } from "wouter";

export function useParameter(name: string): [string, (value: string, others?: Record<string, string>) => void] {
  const search = useSearch();
  const [path, go] = useLocation();
  const value = new URLSearchParams(search).get(name) ?? "";
  const set = useCallback(
    (next: string, others: Record<string, string> = {}) => {
      const all = new URLSearchParams(search);
      for (const [key, text] of Object.entries({ [name]: next, ...others })) {
        if (text) all.set(key, text);
        else all.delete(key);
      }
      const text = all.toString();
      go(text ? `${path}?${text}` : path);
    },
    [search, path, go, name],
  );
  return [value, set];
}
