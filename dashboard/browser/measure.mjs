// How soon the page answers, by the browser's own clock; prints JSON. Run by benchmarks/page.py.
import { readFileSync } from "node:fs";
import { openBrowser, Screen } from "./screen.mjs";
import { System } from "./system.mjs";

const rounds = Number(process.argv[2] ?? 5);
const figures = new Map();

function note(what, took, { event = null, page = null, server = null } = {}) {
  const one = figures.get(what) ?? { took: [], event: [], page: [], server: [] };
  one.took.push(took);
  for (const [name, figure] of Object.entries({ event, page, server })) if (figure !== null) one[name].push(figure);
  figures.set(what, one);
}

const TICK = 10;
/** Milliseconds of a core that the server has used; whatever else the machine does, it does not count. */
function serverUsed(system) {
  const after = readFileSync(`/proc/${system.server.pid}/stat`, "utf8").split(") ").at(-1).split(" ");
  return (Number(after[11]) + Number(after[12])) * TICK;
}

/** Begins to count what the page's main thread and the server use of a core; returns what ends it. */
async function counting(page, system) {
  const devtools = await page.context().newCDPSession(page);
  await devtools.send("Performance.enable", { timeDomain: "threadTicks" });
  const used = async () => {
    const { metrics } = await devtools.send("Performance.getMetrics");
    return metrics.find((one) => one.name === "TaskDuration").value * 1000;
  };
  const before = [await used(), serverUsed(system)];
  return async () => {
    const spent = { page: (await used()) - before[0], server: serverUsed(system) - before[1] };
    await devtools.detach();
    return spent;
  };
}

/** In the page: when an input came, how long its event took, and when something stood on the screen. */
function watch() {
  window.inputs = { at: 0, longest: 0 };
  for (const kind of ["click", "keydown", "change"]) {
    window.addEventListener(kind, (event) => { window.inputs.at = event.timeStamp; }, { capture: true });
  }
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (one.interactionId) window.inputs.longest = Math.max(window.inputs.longest, one.duration);
  }).observe({ type: "event", durationThreshold: 16, buffered: true });
  /** Resolves in the frame after the one that holds it. */
  window.painted = (holds) => new Promise((resolve) => {
    const look = () => {
      if (holds()) requestAnimationFrame(() => setTimeout(() => resolve(performance.now()), 0));
      else requestAnimationFrame(look);
    };
    look();
  });
}

const HOLDS = {
  overview: () => document.querySelector(".states .figure") !== null,
  rows: () => document.querySelector(".table tbody tr") !== null,
  dead: () => {
    const all = [...document.querySelectorAll(".table tbody .state")];
    return all.length > 0 && all.every((one) => one.textContent === "dead letter");
  },
  found: () => {
    const all = [...document.querySelectorAll(".table tbody a.cell")];
    return all.length > 0 && all.every((one) => one.textContent === "mail.send");
  },
  other: () => {
    const first = document.querySelector(".table tbody a.cell");
    return first !== null && first.getAttribute("href") !== window.firstRow;
  },
  job: () => document.querySelector(".life") !== null,
  chosen: () => document.querySelector(".bulk") !== null,
  palette: () => document.querySelector("dialog[open], [role=dialog]") !== null,
  queues: () => location.pathname === "/queues" && document.querySelectorAll("[aria-label=Queues] tbody tr").length > 3,
};

const when = (page, holds) => page.evaluate(`window.painted(${HOLDS[holds]})`);

async function arrive(browser, system, path, holds, what) {
  const screen = await Screen.open(browser, system);
  await screen.page.addInitScript(watch);
  const counted = await counting(screen.page, system);
  await screen.open(path);
  const at = await when(screen.page, holds);
  note(`${what}: its first row of figures`, at, await counted());
  note(`${what}: first paint`, await screen.page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime));
  await screen.close();
}

/** From the input to the frame that shows its answer. */
async function answer(page, system, what, holds, act) {
  const counted = await counting(page, system);
  await page.evaluate(() => {
    window.inputs.longest = 0;
    window.firstRow = document.querySelector(".table tbody a.cell")?.getAttribute("href");
  });
  await act();
  const at = await when(page, holds);
  const { longest, began } = await page.evaluate(() => ({ longest: window.inputs.longest, began: window.inputs.at }));
  note(what, at - began, { event: longest, ...(await counted()) });
}

async function interactions(page, system) {
  await page.goto(`${system.url}/jobs`);
  await page.locator(".feed.live").waitFor();
  await when(page, "rows");
  await answer(page, system, "filter by a state", "dead", () => page.getByRole("button", { name: /^dead letter/ }).click());
  await answer(page, system, "next page", "other", () => page.getByRole("button", { name: "Older" }).click());
  await answer(page, system, "open a job", "job", () => page.locator(".table tbody a.cell").nth(3).click());
  await page.goto(`${system.url}/jobs`);
  await when(page, "rows");
  await page.getByRole("combobox", { name: "Search jobs" }).fill("task:mail.send state:completed");
  await answer(page, system, "search for a task in a state", "found", () => page.keyboard.press("Enter"));
  await answer(page, system, "choose a row", "chosen", () => page.getByRole("checkbox", { name: /^Choose job/ }).nth(2).click());
  await answer(page, system, "open the palette", "palette", () => page.keyboard.press("Control+k"));
  await page.keyboard.press("Escape");
  await page.locator("h1").click();
  await answer(page, system, "to the queues", "queues", () => page.getByRole("link", { name: /^Queues/ }).click());
}

const system = await System.start();
const browser = await openBrowser();
try {
  // The first look warms the server's caches, as it does for whoever comes second.
  for (let round = -1; round < rounds; round += 1) {
    if (round === 0) figures.clear();
    await arrive(browser, system, "/", "overview", "overview");
    await arrive(browser, system, "/jobs", "rows", "jobs");
    const screen = await Screen.open(browser, system);
    await screen.page.addInitScript(watch);
    await interactions(screen.page, system);
    await screen.close();
  }
} finally {
  await browser.close();
  await system.close();
}

const median = (list) => (list.length > 0 ? list.toSorted((a, b) => a - b)[list.length >> 1] : null);
process.stdout.write(JSON.stringify([...figures].map(([what, { took, event, page, server }]) => ({
  what, median: median(took), worst: Math.max(...took), event: median(event), page: median(page), server: median(server),
}))));
