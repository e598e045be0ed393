// Text from outside stays text: a corpus of markup in every field that takes free text (payloads,
// keys of payloads, results, errors, log lines, progress, tenants, unique keys,
// reasons), shown on every screen. Nothing of it may run. Names of queues are refused by the server
// when they hold markup.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, openPage, System } from "./system.mjs";

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
const NAME = `<img src=x onerror="window.ran=1">`;

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
  const made = await system.api("POST", "/workflows", { name: "flow", jobs: [{ name: "first", task: "fail", payload: { message: NAME } }, { name: "after", task: "echo", after: ["first"] }] });
  flow = made.body?.id;
  await system.api("POST", "/scheduled-jobs", { name: "nightly", task: "echo", cron_expression: "0 3 * * *", payload: { value: NAME } });
  const held = await system.submit("echo", {}, { delay: "1h" });
  await system.api("POST", "/jobs/bulk", { action: "cancel", ids: [held], reason: NAME });
  await Promise.all(jobs.map((id, n) => system.reach(id, n % 2 === 0 ? "dead_letter" : "completed")));
});

after(async () => {
  await browser?.close();
  await system?.close();
});

test("nothing of the corpus runs, on any screen", async () => {
  assert.ok(flow, "the workflow was accepted");
  const page = await openPage(browser);
  const screens = ["/", "/jobs", "/queues", "/workers", "/schedules", "/workflows", `/workflows/${flow}`, "/dead-letters", "/dead-letters?view=list", "/audit", "/settings"];
  screens.push(...jobs.map((id) => `/jobs/${id}`));
  screens.push(`/jobs?q=${encodeURIComponent(`error:"${NAME.replaceAll('"', '\\"')}"`)}`);
  const shown = new Set();
  for (const path of screens) {
    await page.goto(system.url + path);
    await page.locator(".feed.live").waitFor();
    await page.locator(".bones").first().waitFor({ state: "detached" });
    const content = await page.locator("#root").evaluate((root) => root.textContent + [...root.querySelectorAll("[title]")].map((one) => one.title).join());
    for (const text of CORPUS) if (content.includes(text) || content.includes(JSON.stringify(text).slice(1, -1))) shown.add(text);
    assert.equal(await page.evaluate(() => window.ran), undefined, path);
    assert.equal(await page.locator("#root script, #root iframe, #root base, #root style, #root img:not([src='/icon.svg'])").count(), 0, path);
  }
  assert.deepEqual(CORPUS.filter((text) => !shown.has(text)), [], "every text of the corpus was on a screen");
  assert.deepEqual(page.wrong, []);
  await page.context().close();
});

test("the policy does stop what would run: the listener hears it", async () => {
  const page = await openPage(browser);
  await page.goto(system.url);
  await page.locator(".feed.live").waitFor();
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = 1";
    document.body.append(script);
  });
  await page.waitForFunction(() => document.querySelector("body > script:not([src])") !== null);
  assert.equal(await page.evaluate(() => window.ran), undefined);
  assert.ok(page.wrong.some((text) => text.startsWith("policy: script-src")), page.wrong.join());
  await page.context().close();
});
