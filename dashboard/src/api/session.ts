/** Who looks at the page, and what he may; a server on loopback asks nobody. */
import { useQuery } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import { NEEDS, type Need } from "../generated/access";
import { ApiError, get, onUnauthenticated, post, setToken, type Schemas } from "./client";
import { client } from "./queries";

export type Me = Schemas["Me"];
/** Something that the server is asked to do or to tell: "post /api/v1/jobs". */
export type Deed = keyof typeof NEEDS;
export type May = (deed: Deed) => boolean;

onUnauthenticated.call = () => void client.invalidateQueries({ queryKey: ["me"] });

/** Who looks; null when the server wants a key first. An answer, not an error: the form to log in stays. */
export const useMe = () =>
  useQuery<Me | null>({
    queryKey: ["me"],
    queryFn: async ({ signal }) => {
      try {
        return known(await get("/api/v1/me", { signal }));
      } catch (error) {
        if (error instanceof ApiError && error.status === 401) return null;
        throw error;
      }
    },
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });

function known(me: Me): Me {
  setToken(me.csrf);
  return me;
}

/** What is about the whole store: refused to a key that is bound to a tenant or to queues. */
const WHOLE = ["/overview", "/live", "/activity", "/fleets"];
/** What is refused to a tenant's key besides: workers and queues serve all tenants together. */
const SHARED = ["/stats", "/queues", "/workers", "/jobs/{job_id}/explain"];
const begins = (deed: Deed, paths: readonly string[]) =>
  paths.some((path) => deed.split(" ")[1]?.startsWith(`/api/v1${path}`));

/** Whether somebody may do something. It decides what is shown; the server decides what is done. */
export function mayOf(me: Me | null | undefined): May {
  if (!me) return () => true;
  const bound = me.tenant !== null || me.queues.length > 0;
  return (deed) => {
    const need = NEEDS[deed] as Need;
    if (need !== "open" && need !== "known" && !me.scopes.includes(need)) return false;
    if (bound && begins(deed, WHOLE)) return false;
    if (me.tenant !== null && begins(deed, SHARED)) return false;
    return !(bound && !deed.startsWith("get ") && begins(deed, ["/workers"]));
  };
}

export const Rights = createContext<May>(() => true);
export const useMay = (): May => useContext(Rights);

export async function logIn(key: string): Promise<void> {
  const me = known(await post("/login", { body: { key } }));
  client.removeQueries({ predicate: ({ queryKey }) => queryKey[0] !== "me" });
  client.setQueryData(["me"], me);
}

export async function logOut(): Promise<void> {
  await post("/logout");
  setToken(null);
  // The page begins anew, so that nothing of what was seen stays behind.
  location.assign("/");
}
