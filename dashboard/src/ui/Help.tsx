import { useMay } from "../api/session";
import { PLACES } from "../lib/places";
import { Dialog } from "./Dialog";

const KEYS: readonly [string, string][] = [
  ["/", "Search jobs"],
  ["Ctrl K", "Go anywhere"],
  ["j  k", "Next, previous row"],
  ["Enter", "Open the row"],
  ["x", "Choose the row"],
  ["n", "Submit a job"],
  ["p", "Hold or go on with live updates"],
  ["t", "Light, dark, system"],
  ["?", "This list"],
  ["F6", "To the messages and back"],
  ["Esc", "Close"],
];

export function Help({ onClose }: { onClose: () => void }) {
  const may = useMay();
  return (
    <Dialog title="Keyboard" onClose={onClose}>
      <ul className="keys">
        {KEYS.map(([key, what]) => <Key key={key} keys={key} what={what} />)}
        {PLACES.filter((place) => may(place.needs)).map((place) => <Key key={place.path} keys={`g ${place.key}`} what={place.name} />)}
      </ul>
    </Dialog>
  );
}

function Key({ keys, what }: { keys: string; what: string }) {
  return (
    <li>
      {what}
      <span className="row">{keys.split(" ").filter(Boolean).map((key) => <kbd key={key} className="kbd">{key}</kbd>)}</span>
    </li>
  );
}
