/** One box that leads anywhere: pages, jobs by id, queues, tasks, workers, searches. */
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
  const [at, setAt] = useState(0);
  const [, go] = useLocation();
  const items = useItems(text.trim());
  const chosen = Math.min(at, items.length - 1);
  const open = (item: Item | undefined) => {
    if (!item) return;
    onClose();
    go(item.path);
  };
  return (
    <Dialog title="Go to" onClose={onClose} onSubmit={() => open(items[chosen])}>
      <div className="palette">
        <input
          className="input"
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant={items[chosen] ? `palette-${chosen}` : undefined}
          aria-label="Page, queue, task, worker, job id or search"
          placeholder="Page, queue, task, worker, job id or search"
          data-autofocus=""
          autoComplete="off"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setAt(0);
          }}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown" || event.key === "ArrowUp") {
              event.preventDefault();
              const step = event.key === "ArrowDown" ? 1 : -1;
              setAt((chosen + step + items.length) % Math.max(1, items.length));
            }
          }}
        />
        <ul id="palette-list" tabIndex={-1} role="listbox" aria-label="Places">
          {items.map((item, index) => (
            // eslint-disable-next-line jsx-a11y/click-events-have-key-events -- the box above takes the keys
            <li key={item.key} id={`palette-${index}`} role="option" aria-selected={index === chosen} onClick={() => open(item)}>
              <Icon name={item.icon} />
              <span className="cut">{item.text}</span>
              <span className="why">{item.why}</span>
            </li>
          ))}
        </ul>
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
