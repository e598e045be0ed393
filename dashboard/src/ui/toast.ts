/** Short messages in the corner: what was done, and what could not be done. */
import { messageOf } from "../api/client";

export interface Message {
  text: string;
  tone: "good" | "bad";
}

/** Those that came before there was anything to show them. */
const waiting: Message[] = [];
let show: ((message: Message) => void) | null = null;

export function toast(text: string, tone: Message["tone"] = "good"): void {
  if (show) show({ text, tone });
  else waiting.push({ text, tone });
}

/** Show messages this way from now on, those that wait first; returns what ends it. */
export function showMessages(how: (message: Message) => void): () => void {
  show = how;
  for (const message of waiting.splice(0)) how(message);
  return () => {
    show = null;
  };
}

/** Do something, say that it was done, or why not. */
export async function tell(work: Promise<unknown>, done: string): Promise<boolean> {
  try {
    await work;
    toast(done);
    return true;
  } catch (error) {
    toast(messageOf(error), "bad");
    return false;
  }
}
