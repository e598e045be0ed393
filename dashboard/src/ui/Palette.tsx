/** One box that leads anywhere: pages, jobs by id, queues, tasks, workers, searches. */
import { Autocomplete } from "@base-ui/react/autocomplete";
import { useState } from "react";
import { useLocation } from "wouter";
import { PLACES } from "../lib/places";
import { useLive } from "../api/live";
import { useTasks } from "../api/queries";
import { useMay } from "../api/session";
import { jobsLink } from "../lib/search";
import { Dialog } from "./Dialog";
import { Icon, type IconName } from "./Icon";

interface Item {
  key: string;
  icon: IconName;
  text: string;
  why: string;
  path: string;
}

const ID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/i;

export function Palette({ onClose }: { onClose: () => void }) {
  const [text, setText] = useState("");
  const [, go] = useLocation();
  const items = useItems(text.trim());
  const open = (item: Item) => {
    onClose();
    go(item.path);
  };
  return (
    <Dialog title="Go to" onClose={onClose}>
      <div className="palette">
        <Autocomplete.Root
          inline
          open
          items={items}
          filter={null}
          autoHighlight="always"
          value={text}
          itemToStringValue={(item: Item) => item.text}
          onValueChange={(next, { reason }) => {
            if (reason === "input-change") setText(next);
          }}
        >
          <Autocomplete.Input className="input" aria-label="Page, queue, task, worker, job id or search" placeholder="Page, queue, task, worker, job id or search" data-autofocus="" />
          <Autocomplete.List aria-label="Places">
            {(item: Item) => (
              <Autocomplete.Item key={item.key} value={item} onClick={() => open(item)}>
                <Icon name={item.icon} />
                <span className="cut">{item.text}</span>
                <span className="why">{item.why}</span>
              </Autocomplete.Item>
            )}
          </Autocomplete.List>
        </Autocomplete.Root>
      </div>
    </Dialog>
  );
}

function useItems(text: string): Item[] {
  const stats = useLive().overview?.stats;
  const tasks = useTasks().data?.tasks ?? [];
  const may = useMay();
  const wanted = text.toLowerCase();
  const items: Item[] = [];
  if (ID.test(text)) items.push({ key: "id", icon: "jobs", text, why: "job", path: `/jobs/${text.toLowerCase()}` });
  for (const place of PLACES.filter((one) => may(one.needs))) items.push({ key: place.path, icon: place.icon, text: place.name, why: `g ${place.key}`, path: place.path });
  for (const queue of stats?.queues ?? []) {
    items.push({ key: `q ${queue.name}`, icon: "queues", text: queue.name, why: "jobs of the queue", path: jobsLink({ queue: queue.name }) });
  }
  for (const task of tasks) {
    items.push({ key: `t ${task.name}`, icon: "jobs", text: task.name, why: "jobs of the task", path: jobsLink({ task: task.name }) });
  }
  const found = items.filter((item) => item.key === "id" || item.text.toLowerCase().includes(wanted)).slice(0, 30);
  if (text && !ID.test(text)) {
    const q = text.includes(":") ? text : `error:"${text.replaceAll(/["\\]/g, "\\$&")}"`;
    found.push({ key: "search", icon: "search", text: q, why: "search jobs", path: `/jobs?q=${encodeURIComponent(q)}` });
  }
  return found;
}
