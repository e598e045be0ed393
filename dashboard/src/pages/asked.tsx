/** Dialogs that the pages of jobs open: fetched when the page stands, so that it need not wait for them. */
import { Suspense, type ReactNode } from "react";
import { later } from "../ui/later";

export const Confirm = later(() => import("../ui/Dialog").then((m) => m.Confirm));
export const Bulk = later(() => import("./Bulk").then((m) => m.Bulk));
export const RetryWith = later(() => import("./RetryWith").then((m) => m.RetryWith));
export const Submit = later(() => import("./Submit").then((m) => m.Submit));
export const ASKED = [Confirm, Submit, Bulk, RetryWith] as const;

/** Where a dialog comes: keys are for it already while it is being fetched. */
export const COMING = <i data-coming="" />;

export function Asked({ children }: { children: ReactNode }) {
  return <Suspense fallback={COMING}>{children}</Suspense>;
}
