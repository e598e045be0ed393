/** The settings in force. */
import { useQuery } from "@tanstack/react-query";
import { get, write } from "../api/client";
import { Keys } from "./Keys";
import { Bones, Card, Failure, Page } from "../ui/parts";

export function Settings() {
  const settings = useQuery({ queryKey: ["settings"], queryFn: ({ signal }) => get("/api/v1/settings", { signal }), staleTime: 60_000 });
  if (settings.isLoadingError) return <Page title="Settings"><Card><Failure error={settings.error} retry={() => void settings.refetch()} /></Card></Page>;
  if (settings.isPending) return <Page title="Settings"><Card><Bones rows={10} /></Card></Page>;
  return (
    <Page title="Settings" sub="as this server has them; secrets are masked">
      <Keys />
      <div className="cols">
        {groups(settings.data.settings as Record<string, unknown>).map(([name, entries]) => (
        <Card key={name} title={name} className="span-6">
          <dl className="body facts">
            {entries.map(([key, value]) => [<dt key={`${key} t`}><code>{key}</code></dt>, <dd key={key}>{value === null ? <span className="faint">not set</span> : <code>{typeof value === "string" ? value : write(value)}</code>}</dd>])}
          </dl>
        </Card>
        ))}
      </div>
    </Page>
  );
}

/** `worker.lease` → the group "worker"; keys without a dot come first. */
function groups(settings: Record<string, unknown>): [string, [string, unknown][]][] {
  const found = new Map<string, [string, unknown][]>();
  for (const [key, value] of Object.entries(settings)) {
    const name = key.includes(".") ? (key.split(".")[0] ?? "") : "general";
    found.set(name, [...(found.get(name) ?? []), [key, value]]);
  }
  return [...found].toSorted(([a], [b]) => Number(b === "general") - Number(a === "general"));
}
