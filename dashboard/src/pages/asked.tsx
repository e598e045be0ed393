/** Dialogs that the pages of jobs open: fetched when the page stands, so that it need not wait for them. */
import { later } from "../ui/later";

/** Where a dialog comes: keys are for it already while it is being fetched. */
export const COMING = <i data-coming="" />;

export const Confirm = later(() => import("../ui/Dialog").then((m) => m.Confirm), COMING);
export const Bulk = later(() => import("./Bulk").then((m) => m.Bulk), COMING);
export const RetryWith = later(() => import("./RetryWith").then((m) => m.RetryWith), COMING);
export const Submit = later(() => import("./Submit").then((m) => m.Submit), COMING);
export const ASKED = [Confirm, Submit, Bulk, RetryWith] as const;
