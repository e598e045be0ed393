// Text from outside stays text. A corpus of markup goes into every field that takes free text, and is looked at
// on every screen; then every text of every answer of the API is replaced by markup, the names that the server
// would refuse as well: of workers, workflows, schedules, queues, tasks, keys. Nothing of it may run.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, Screen } from "./screen.mjs";
import { System } from "./system.mjs";

const CORPUS = [
  `<script>window.ran=1</script>`,
  `<img src=x onerror="window.ran=1">`,
  `<svg/onload=window.ran=1>`,
  `"><iframe srcdoc="<script>parent.ran=1</script>">`,
  `javascript:window.ran=1`,
  `<a href="javascript:window.ran=1">x</a>`,
  `<style>@import'//evil.example/x.css';</style>`,
  `<base href="//evil.example/">`,
  `<math><mi xlink:href="data:x,<script>window.ran=1</script>">`,
  `\u202e<b>backwards</b>`,
  `{{constructor.constructor('window.ran=1')()}}`,
  `</textarea><script>window.ran=1</script>`,
  `\${window.ran=1}`,
];
const MARKUP = `<img src=x onerror="window.ran=1">`;
const PLACES = ["/", "/jobs", "/queues", "/workers", "/schedules", "/workflows", "/dead-letters", "/dead-letters?view=list", "/audit", "/settings"];

let system;
let browser;
let jobs;
let flow;

before(async () => {
  browser = await openBrowser();
  system = await System.start();
  jobs = await Promise.all(
    CORPUS.flatMap((text) => [
      system.submit("fail", { message: text }, { tenant: text, unique_key: text }),
      system.submit("echo", { value: { [text]: text } }),
    ]),
  );
  const made = await system.api("POST", "/workflows", { name: "flow", jobs: [{ name: "first", task: "fail", payload: { message: MARKUP } }, { name: "after", task: "echo", after: ["first"] }] });
  flow = made.body?.id;
  await system.api("POST", "/scheduled-jobs", { name: "nightly", task: "echo", cron_expression: "0 3 * * *", payload: { value: MARKUP } });
  const held = await system.submit("echo", {}, { delay: "1h" });
  await system.api("POST", "/jobs/bulk", { action: "cancel", ids: [held], reason: MARKUP });
  await Promise.all(jobs.map((id, n) => system.reach(id, n % 2 === 0 ? "dead_letter" : "completed")));
});

after(async () => {
  await browser?.close();
  await system?.close();
});

/** Nothing ran, and no element of the corpus came to life. */
async function inert(page, path) {
  assert.equal(await page.evaluate(() => window.ran), undefined, path);
  // Dialogs, lists and messages stand beside the root.
  const body = page.locator("body");
  assert.equal(await body.locator("script, iframe, base, style, math, b, img:not([src='/icon.svg'])").count(), 0, path);
  assert.equal(await body.locator("[href^='javascript:'], svg[onload], [onerror]").count(), 0, path);
}

/** What a screen holds, and what it shows under the pointer. */
const contentOf = (page) =>
  page.locator("#root").evaluate((root) => root.textContent + [...root.querySelectorAll("[title]")].map((one) => one.title).join());

test("names are refused where they hold markup", async () => {
  const cron = { task: "echo", cron_expression: "0 3 * * *", payload: {} };
  const asked = [
    ["POST", "/jobs", { task: MARKUP, payload: {} }],
    ["POST", "/jobs", { task: "echo", payload: {}, queue: MARKUP }],
    ["POST", "/workflows", { name: MARKUP, jobs: [{ name: "a", task: "echo" }] }],
    ["POST", "/workflows", { name: "a", jobs: [{ name: MARKUP, task: "echo" }] }],
    ["POST", "/scheduled-jobs", { name: MARKUP, ...cron }],
    ["POST", "/api-keys", { name: MARKUP, scopes: ["read"] }],
  ];
  for (const [verb, path, body] of asked) {
    const { status } = await system.api(verb, path, body);
    assert.ok(status >= 400 && status < 500, `${path} ${JSON.stringify(body)}: ${status}`);
  }
});

test("nothing of the corpus runs, on any screen", async () => {
  assert.ok(flow, "the workflow was accepted");
  const screen = await Screen.open(browser, system);
  const { page } = screen;
  const shown = new Set();
  await screen.settle("/");
  const paths = [...PLACES, `/workflows/${flow}`, ...jobs.map((id) => `/jobs/${id}`), `/jobs?q=${encodeURIComponent(`error:"${MARKUP.replaceAll('"', '\\"')}"`)}`];
  for (const path of paths) {
    await page.evaluate((to) => history.pushState(null, "", to), path);
    await page.waitForFunction(() => document.querySelector(".page-head") && !document.querySelector(".bones"));
    const content = await contentOf(page);
    for (const text of CORPUS) if (content.includes(text) || content.includes(JSON.stringify(text).slice(1, -1))) shown.add(text);
    await inert(page, path);
  }
  assert.deepEqual(CORPUS.filter((text) => !shown.has(text)), [], "every text of the corpus was on a screen");
  screen.fine();
  await screen.close();
});

/** What the page decides on, or counts with; every other text is a text. */
const KEPT = /^(id|job_id|last_job_id|session_id|workflow_id|sample|parents|from|to|state|states|outcome|priority|kind|scopes|csrf|next_cursor|command|catch_up|timezone|answer|now|.*_at|at|next_firings|minute_at|matrix|counts|store_id)$/;

function poison(value, key = "") {
  if (typeof value === "string") return KEPT.test(key) ? value : `${MARKUP}${value}`;
  if (Array.isArray(value)) return value.map((one) => poison(one, key));
  if (value === null || typeof value !== "object" || KEPT.test(key)) return value;
  const free = key === "payload" || key === "details" || key === "settings" || key === "result";
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [free ? `${name}${MARKUP}` : name, poison(one, name)]));
}

test("not even if every text of every answer is markup: names of workers, queues, tasks, schedules, workflows, keys", async () => {
  await system.api("POST", "/api-keys", { name: "reader", scopes: ["read"] });
  const { body: key } = await system.api("POST", "/api-keys", { name: "root", scopes: ["admin"] });
  system.key = key?.key ?? (await system.makeKey("other-root", "admin"));
  const screen = await Screen.open(browser, system, { extraHTTPHeaders: { authorization: `Bearer ${system.key}` } });
  const { page } = screen;
  let poisoned = 0;
  await page.route("**/api/v1/**", async (route) => {
    const url = new URL(route.request().url());
    if (url.pathname.endsWith("/events") && url.pathname.includes("/jobs/")) return route.continue();
    if (url.pathname === "/api/v1/live") {
      const frame = poison((await system.api("GET", "/overview")).body);
      return route.fulfill({ contentType: "text/event-stream", body: `event: overview\ndata: ${JSON.stringify(frame)}\n\n` });
    }
    const answer = await route.fetch();
    poisoned += 1;
    return route.fulfill({ response: answer, json: poison(await answer.json()) });
  });
  for (const path of [...PLACES, `/workflows/${flow}`, `/jobs/${jobs[0]}`, `/jobs/${jobs[1]}`]) {
    await screen.open(path);
    await page.waitForFunction(() => document.querySelector(".page-head") && !document.querySelector(".bones"));
    assert.ok((await contentOf(page)).includes(MARKUP), `${path} shows it`);
    await inert(page, path);
  }
  await page.keyboard.press("Control+k");
  await page.getByRole("option", { name: MARKUP }).first().waitFor();
  await page.keyboard.press("Escape");
  await screen.dialog.waitFor({ state: "detached" });
  await screen.open("/jobs");
  await page.getByRole("combobox").first().waitFor();
  await page.keyboard.press("/");
  await page.waitForFunction(() => document.activeElement?.id === "search");
  await page.keyboard.type("queue:");
  await page.getByRole("option", { name: MARKUP }).first().waitFor();
  await inert(page, "suggestions");
  assert.ok(poisoned > 20, `${poisoned} answers`);
  // The page goes on asking; what is under way must not fall into the next test.
  await page.unrouteAll({ behavior: "ignoreErrors" });
  screen.fine();
  await screen.close();
});

test("the policy does stop what would run: the listener hears it", async () => {
  const screen = await Screen.open(browser, system);
  const { page } = screen;
  await screen.open("/");
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = 1";
    document.body.append(script);
  });
  await page.waitForFunction(() => document.querySelector("body > script:not([src])") !== null);
  assert.equal(await page.evaluate(() => window.ran), undefined);
  assert.ok(screen.wrong.some((text) => text.startsWith("policy: script-src")), screen.wrong.join());
  await screen.close();
});
