// Every screen and every action, in a real browser, against a running system.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { openBrowser, openPage, SOON, System, until } from "./system.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let system;
let browser;
let page;
const ids = {};

before(async () => {
  browser = await openBrowser();
  system = await System.start();
  page = await openPage(browser);
  ids.done = await system.submit("count", { to: 3 });
  ids.dead = await system.submit("fail", { message: "upstream refused: 502" });
  ids.later = await system.submit("echo", { value: [1, { deep: "text" }] }, { delay: "1h", tenant: "acme" });
  await system.api("POST", "/scheduled-jobs", { name: "nightly", task: "count", cron_expression: "0 3 * * MON-FRI", payload: { to: 1 } });
  const flow = await system.api("POST", "/workflows", {
    name: "ingest",
    jobs: [{ name: "first", task: "echo" }, { name: "second", task: "fail", after: ["first"] }, { name: "third", task: "echo", after: ["second"] }],
  });
  ids.flow = flow.body.id;
  await system.reach(ids.done, "completed");
  await system.reach(ids.dead, "dead_letter");
});

after(async () => {
  await browser?.close();
  await system?.close();
});

const open = (path) => page.goto(system.url + path);
const button = (name, scope = page) => scope.getByRole("button", { name, exact: true });
const see = (text) => page.getByText(text).first().waitFor();
/** Nothing went wrong on the page since the last look, but what the test itself provoked. */
const fine = (...provoked) => {
  const wrong = page.wrong.splice(0).filter((text) => !provoked.some((one) => text.includes(one)));
  assert.deepEqual(wrong, []);
};
const count = async (q) => (await system.api("GET", `/jobs/count?q=${encodeURIComponent(q)}`)).body.count;
const state = async (id) => (await system.api("GET", `/jobs/${id}`)).body.state;

test("overview: figures, parts, causes; live", async () => {
  await open("/");
  await see("Throughput");
  await page.getByText("ValueError").first().waitFor();
  await page.locator(".feed.live").waitFor();
  const cell = page.locator(".states a", { hasText: "scheduled" }).locator(".figure");
  const was = Number(await cell.textContent());
  await system.submit("echo", {}, { delay: "1h" });
  await until("the new job is counted without a reload", async () => Number(await cell.textContent()) === was + 1);
  await page.locator(".states a", { hasText: "dead letter" }).click();
  await page.waitForURL(/q=state/);
  await see("upstream refused: 502");
  fine();
});

test("jobs: search with suggestions, a wrong search, paging", async () => {
  await open("/jobs");
  const box = page.getByRole("combobox", { name: "Search jobs" });
  await page.keyboard.press("/");
  await box.pressSequentially("ten");
  await page.getByRole("option", { name: /tenant:/ }).click();
  await box.pressSequentially("acme ");
  await box.press("Enter");
  await page.waitForURL(/tenant/);
  await page.getByText("1 match").waitFor();
  await box.fill("nonsense:1");
  await box.press("Enter");
  await see("The search cannot be read");
  fine("422");
  for (let n = 0; n < 55; n += 1) await system.submit("echo", { value: n }, { delay: "2h", queue: "many" });
  await box.fill("queue:many");
  await box.press("Enter");
  await page.getByText("55 match").waitFor();
  await button("Older").click();
  await page.getByText("5 on this page, newest first", { exact: true }).waitFor();
  await button("Newer").click();
  await page.getByText("50 on this page").waitFor();
  fine("422");
});

test("jobs: cancel everything that matches, with a count before and a reason", async () => {
  await open("/jobs?q=queue%3Amany");
  await page.getByText("55 match").waitFor();
  await page.getByLabel("Choose all on this page").check();
  await button("Take everything that matches").click();
  await page.getByRole("region", { name: "Chosen jobs" }).getByRole("button", { name: "Cancel" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Cancel 55" }).waitFor();
  assert.ok(await dialog.getByRole("button", { name: "Cancel 55" }).isDisabled(), "a reason is needed");
  await dialog.getByLabel("Reason").fill("not wanted any more");
  await dialog.getByRole("button", { name: "Cancel 55" }).click();
  await see("55 jobs called off");
  const { body } = await system.api("GET", "/jobs/count?q=queue:many%20state:cancelled");
  assert.equal(body.count, 55);
  const events = await system.api("GET", "/events?kind=jobs_handled");
  assert.equal(events.body.events[0].details.reason, "not wanted any more");
  fine();
});

test("jobs: delete a selection, with the keyboard", async () => {
  await open("/jobs?q=queue%3Amany");
  await page.getByText("55 match").waitFor();
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await page.keyboard.press("j");
  await page.keyboard.press("x");
  await see("2 chosen");
  await page.getByRole("region", { name: "Chosen jobs" }).getByRole("button", { name: "Delete" }).click();
  await page.getByLabel("Reason").fill("tidy");
  await page.getByRole("dialog").getByRole("button", { name: "Delete 2" }).click();
  await see("2 jobs deleted");
  await page.getByText("53 match").waitFor();
  fine();
});

test("submit a job, and follow it live to its end", async () => {
  await open("/jobs");
  await button("Submit a job").click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Task").fill("hold");
  await dialog.getByLabel("Payload").fill('{"x"}');
  await dialog.getByRole("button", { name: "Submit", exact: true }).click();
  await dialog.getByText(/The payload is no JSON/).waitFor();
  await dialog.getByLabel("Payload").fill("{}");
  await dialog.getByLabel("Priority").selectOption("high");
  await dialog.getByRole("button", { name: "Submit", exact: true }).click();
  await page.waitForURL(/\/jobs\/[0-9a-f-]{36}/);
  await see("1 of 2");
  await see(/50\s%/);
  await see("holding");
  await system.submit("let_go");
  await page.locator(".life .on", { hasText: "completed" }).waitFor();
  await see("let go");
  fine();
});

test("job: traceback, copy, retry, retry with changes, duplicate, delete", async () => {
  await open(`/jobs/${ids.dead}`);
  await page.locator(".trace", { hasText: "raise ValueError" }).waitFor();
  await button("CLI").click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "stoker send fail 'message=upstream refused: 502' --queue trouble");
  await button("curl").click();
  assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^curl -X POST http:\/\/127/);
  await button("Retry").click();
  await page.getByLabel("Reason").fill("again");
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await see("It will run again");
  await until("it died again", async () => (await system.api("GET", `/jobs/${ids.dead}`)).body.attempts.length === 2 && (await state(ids.dead)) === "dead_letter");
  await open(`/jobs/${ids.dead}`);
  await button("Retry with changes").click();
  await page.getByRole("dialog").getByLabel("Payload").fill('{"message": "another one"}');
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await until("it died of the new payload", async () => (await system.api("GET", `/jobs/${ids.dead}`)).body.error?.message === "another one");
  await open(`/jobs/${ids.done}`);
  await button("Duplicate").click();
  await page.getByRole("dialog").getByRole("button", { name: "Submit", exact: true }).click();
  await page.waitForURL((url) => !url.pathname.endsWith(ids.done));
  const copy = page.url().split("/").at(-1);
  await system.reach(copy, "completed");
  await open(`/jobs/${copy}`);
  await button("Delete").click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.waitForURL(/\/jobs$/);
  assert.equal((await system.api("GET", `/jobs/${copy}`)).status, 404);
  fine();
});

test("job: why it waits, and calling it off", async () => {
  await open(`/jobs/${ids.later}`);
  await page.locator(".explain").waitFor();
  await see("deep");
  await button("Cancel the job").click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the job" }).click();
  await page.locator(".life .on", { hasText: "cancelled" }).waitFor();
  assert.equal(await state(ids.later), "cancelled");
  fine();
});

test("queues: pause, resume, limit, empty", async () => {
  await open("/queues");
  await button("Pause numbers").click();
  await button("Resume numbers").waitFor();
  const waiting = await system.submit("echo", { value: 1 });
  await open(`/jobs/${waiting}`);
  await page.locator(".explain", { hasText: /paused/ }).waitFor();
  await open("/queues");
  await button("Limit numbers").click();
  await page.getByLabel("Jobs in work at once, over all workers").fill("3");
  await button("Save").click();
  await see("0 / 3");
  await button("Delete what waits in numbers").click();
  const confirm = page.getByRole("dialog").getByRole("button", { name: "Delete" });
  assert.ok(await confirm.isDisabled(), "the name must be typed first");
  await page.getByLabel("Type numbers to go on").fill("numbers");
  await confirm.click();
  await see("Deleted what waited in numbers");
  assert.equal((await system.api("GET", `/jobs/${waiting}`)).status, 404);
  await button("Resume numbers").click();
  await button("Pause numbers").waitFor();
  fine();
});

test("schedules: in words, run now, pause, change, make, remove", async () => {
  await open("/schedules");
  await see("At 03:00 on Monday through Friday");
  await button("Next firings and payload").click();
  assert.equal(await page.getByRole("list", { name: "Next firings" }).getByRole("listitem").count(), 10);
  await button("Pause nightly").click();
  await button("Resume nightly").waitFor();
  await button("Run now: nightly").click();
  await page.waitForURL(/\/jobs\//);
  await open("/schedules");
  await see("1 fired");
  await button("Change nightly").click();
  await page.getByLabel("Cron expression").fill("never");
  await button("Save").click();
  await page.locator(".form-error").waitFor();
  fine("422");
  await page.getByLabel("Cron expression").fill("30 4 * * *");
  await button("Save").click();
  await see(/04:30/);
  await button("New schedule").click();
  await page.getByLabel("Name").fill("hourly");
  await page.getByLabel("Task").fill("echo");
  await button("Interval").click();
  await page.getByRole("textbox", { name: "Interval" }).fill("1h");
  await button("Save").click();
  await button("Remove hourly").click();
  await page.getByRole("dialog").getByRole("button", { name: "Remove" }).click();
  await see("hourly was removed");
  fine();
});

test("workflows: list, graph, retry from a node", async () => {
  await open("/workflows");
  await page.getByRole("link", { name: "ingest" }).click();
  await page.locator(".react-flow__node", { hasText: "third" }).waitFor();
  assert.equal(await page.locator(".react-flow__edge").count(), 2);
  await page.locator(".react-flow__node", { hasText: "second" }).click();
  await button("Retry from here").click();
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await see(/jobs? will run again/);
  await button("Retry what failed").click();
  await page.getByRole("dialog").getByRole("button", { name: "Retry" }).click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
  fine();
});

test("dead letters: by cause, replay at a rate, drop", async () => {
  for (let n = 0; n < 3; n += 1) await system.submit("fail", { message: `order ${n} has no address` });
  await until("all are dead", async () => (await count("state:dead_letter error:address")) === 3);
  await until("nothing is in work", async () => (await count("state:queued,assigned,running")) === 0);
  const dead = await count("state:dead_letter");
  await open("/dead-letters");
  const row = page.getByRole("row", { name: /order … has no address/ });
  await row.waitFor();
  assert.equal(await row.locator("td").first().textContent(), "3");
  await button("One by one").click();
  await see("order 2 has no address");
  await button("By cause").click();
  await button("Replay all").click();
  await page.getByLabel("At most so many a second").fill("50");
  await page.getByRole("dialog").getByRole("button", { name: /^Replay \d/ }).click();
  await see(/dead letters? replayed/);
  await until("they died again", async () => (await count("state:dead_letter")) === dead);
  await open("/dead-letters");
  await button("Drop all").click();
  await page.getByRole("dialog").getByRole("button", { name: /^Drop \d/ }).click();
  await see(/dead letters? dropped/);
  await see("No dead letters");
  fine();
});

test("audit: who did what; settings: in force, masked", async () => {
  await open("/audit");
  await page.getByRole("combobox", { name: "Event" }).selectOption("queue_paused");
  await page.waitForURL(/kind=queue_paused/);
  await see("numbers");
  await open("/settings");
  await see("worker.lease");
  assert.equal(await page.getByText("in tests only").count(), 0, "the store's password is masked");
  fine();
});

test("palette, help, colours, holding the feed: by keyboard alone", async () => {
  await open("/");
  await page.locator(".feed.live").waitFor();
  await page.keyboard.press("?");
  await page.getByRole("dialog").getByText("Go anywhere").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: /Page, queue/ }).fill("queu");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/queues$/);
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await page.waitForURL(/\/workers$/);
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.keyboard.press("t");
  await page.keyboard.press("p");
  await see("Live updates are held.");
  await page.keyboard.press("p");
  await page.locator(".feed.live").waitFor();
  fine();
});

const SCREENS = ["/", "/jobs", "/queues", "/workers", "/schedules", "/workflows", "/dead-letters", "/audit", "/settings"];

for (const colorScheme of ["light", "dark"]) {
  test(`no serious finding of axe on any screen, ${colorScheme}`, async () => {
    const looked = await openPage(browser, { colorScheme });
    const found = [];
    for (const path of [...SCREENS, `/jobs/${ids.dead}`, `/jobs/${ids.done}`, `/workflows/${ids.flow}`]) {
      await looked.goto(system.url + path);
      await looked.locator(".feed.live").waitFor();
      await looked.locator(".bones").first().waitFor({ state: "detached" });
      await looked.evaluate(axe);
      const { violations } = await looked.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const one of violations.filter(({ impact }) => impact === "serious" || impact === "critical")) {
        found.push(`${path}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
      }
    }
    await looked.context().close();
    assert.deepEqual(found, []);
  });
}

test("a narrow screen: nothing runs out of the page, the menu opens", async () => {
  const narrow = await openPage(browser, { viewport: { width: 390, height: 844 } });
  for (const path of [...SCREENS, `/jobs/${ids.done}`]) {
    await narrow.goto(system.url + path);
    await narrow.locator(".feed.live").waitFor();
    const wide = await narrow.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${path} is ${wide} wide`);
  }
  await button("Menu", narrow).click();
  await narrow.getByRole("link", { name: /Queues/ }).click();
  await narrow.waitForURL(/\/queues$/);
  assert.deepEqual(narrow.wrong, []);
  await narrow.context().close();
});

test("workers: heartbeat, drain", async () => {
  await open("/workers");
  await see("worker-1");
  await button("Drain worker-1").click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await see("worker-1 drains");
  await until("the worker left", () => system.worker.exitCode !== null);
  await button("Last day").click();
  await see("left");
  fine();
});

test("the server restarts while the page is open: a banner, then life goes on", async () => {
  await open("/");
  await page.locator(".feed.live").waitFor();
  await system.stopServer();
  await page.getByRole("alert").filter({ hasText: /stale|not been heard/ }).waitFor({ timeout: SOON });
  await system.startServer();
  await page.locator(".feed.live").waitFor({ timeout: SOON });
  assert.equal(await page.getByRole("alert").count(), 0);
  const cell = page.locator(".states a", { hasText: "scheduled" }).locator(".figure");
  const was = Number(await cell.textContent());
  await system.submit("echo", {}, { delay: "1h" });
  await until("the page counts again without a reload", async () => Number(await cell.textContent()) === was + 1);
  // The browser itself notes that a connection was refused; nothing else may be wrong.
  assert.deepEqual(page.wrong.filter((text) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE/.test(text)), []);
});
