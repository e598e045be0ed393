/** Who looks at the page, and what he may; a server on loopback asks nobody. */
import { useQuery } from "@tanstack/react-query";
import { get, onUnauthenticated, post, setToken, type Schemas } from "./client";
import { client } from "./queries";

export type Me = Schemas["Me"];

onUnauthenticated.call = () => void client.invalidateQueries({ queryKey: ["me"] });

export const useMe = () =>
  useQuery({
    queryKey: ["me"],
    queryFn: async ({ signal }) => known(await get("/api/v1/me", { signal })),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  });

function known(me: Me): Me {
  setToken(me.csrf);
  return me;
}

export async function logIn(key: string): Promise<void> {
  const me = known(await post("/login", { body: { key } }));
  client.clear();
  client.setQueryData(["me"], me);
}

export async function logOut(): Promise<void> {
  await post("/logout");
  setToken(null);
  // The page begins anew, so that nothing of what was seen stays behind.
  location.assign("/");
}
