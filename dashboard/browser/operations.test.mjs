// Queues, workers, schedules, workflows, dead letters, audit, settings: seen and worked in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, Screen } from "./screen.mjs";
import { ended, System, until } from "./system.mjs";

let system;
let browser;
let screen;
let page;

before(async () => {
  browser = await openBrowser();
  system = await System.start();
  screen = await Screen.open(browser, system);
  ({ page } = screen);
});

after(async () => {
  await browser?.close();
  await system?.close();
});

const matches = async (q) => (await system.api("GET", `/jobs/count?q=${encodeURIComponent(q)}`)).body.count;
const unstamped = () => matches('state:dead_letter error:"no stamp"');
/** The row of those that died of it. */
const deadOf = (message) => page.locator("tr", { has: page.locator(`[title="${message}"]`) });
const flow = async (id) => (await system.api("GET", `/workflows/${id}`)).body;

test("queues: sparkline, pause, resume, limit, empty", async () => {
  await system.reach(await system.submit("echo", { value: 1 }), "completed");
  await screen.open("/queues");
  await page.getByRole("img", { name: /numbers: \d+ completed in 30 minutes/ }).waitFor();
  await screen.button("Pause numbers").click();
  await screen.button("Resume numbers").waitFor();
  const waiting = await system.submit("echo", { value: 1 });
  await screen.open(`/jobs/${waiting}`);
  await page.locator(".explain", { hasText: /paused/ }).waitFor();
  await screen.open("/queues");
  await screen.button("Limit numbers").click();
  await page.getByLabel("Jobs in work at once, over all workers").fill("3");
  await screen.confirm("Save");
  await screen.see("0 / 3");
  await screen.button("Delete what waits in numbers").click();
  assert.ok(await screen.button("Delete", screen.dialog).isDisabled(), "the name must be typed first");
  await page.getByLabel("Type numbers to go on").fill("numbers");
  await screen.confirm("Delete");
  await screen.see("Deleted what waited in numbers");
  assert.equal((await system.api("GET", `/jobs/${waiting}`)).status, 404);
  await screen.button("Resume numbers").click();
  await screen.button("Pause numbers").waitFor();
  await screen.button("Limit numbers").click();
  await page.getByLabel("Jobs in work at once, over all workers").fill("");
  await screen.confirm("Save");
  await screen.see("numbers: no limit");
  screen.fine();
});

test("queues: in order by a column, with the keyboard, and back in the order that they came in", async () => {
  await system.submit("echo", {}, { queue: "alpha" });
  await system.submit("echo", {}, { queue: "omega" });
  await screen.open("/queues");
  const head = page.getByRole("columnheader", { name: "Queue", exact: true });
  const names = () => page.getByRole("table", { name: "Queues" }).locator("tbody a.strong").allTextContents();
  await page.getByRole("row", { name: /omega/ }).waitFor();
  const came = await names();
  for (const [order, wanted] of [["ascending", came.toSorted()], ["descending", came.toSorted().toReversed()], [null, came]]) {
    await screen.button("Queue", head).press("Enter");
    await until(`the order is ${order}`, async () => (await head.getAttribute("aria-sort")) === order);
    assert.deepEqual(await names(), wanted);
  }
  screen.fine();
});

test("schedules: in words, run now, history, pause, change", async () => {
  await system.api("POST", "/scheduled-jobs", { name: "nightly", task: "count", cron_expression: "0 3 * * MON-FRI", timezone: "UTC", payload: { to: 1 } });
  await screen.open("/schedules");
  await screen.see("At 03:00 on Monday through Friday");
  await screen.button("Next firings and payload").click();
  assert.equal(await page.getByRole("list", { name: "Next firings" }).getByRole("listitem").count(), 10);
  await screen.button("Pause nightly").click();
  await screen.button("Resume nightly").click();
  await screen.button("Pause nightly").waitFor();
  await screen.button("Run now: nightly").click();
  await page.waitForURL(/\/jobs\//);
  await screen.open("/schedules");
  await page.getByRole("link", { name: "1 fired" }).click();
  await page.waitForURL(/schedule/);
  await screen.see("1 match");
  await screen.open("/schedules");
  await screen.button("Change nightly").click();
  await page.getByLabel("Cron expression").fill("never");
  await screen.confirm("Save");
  await page.locator(".form-error").waitFor();
  screen.fine("422");
  await page.getByLabel("Cron expression").fill("30 4 * * *");
  await screen.confirm("Save");
  await screen.see(/04:30/);
  screen.fine();
});

test("schedules: make one, remove it", async () => {
  await screen.open("/schedules");
  await screen.button("New schedule").click();
  await page.getByLabel("Name").fill("hourly");
  await page.getByLabel("Task").fill("echo");
  await screen.button("Interval").click();
  await page.getByRole("textbox", { name: "Interval" }).fill("1h");
  await screen.confirm("Save");
  await screen.button("Remove hourly").click();
  await screen.confirm("Remove");
  await screen.see("hourly was removed");
  assert.equal((await system.api("GET", "/scheduled-jobs/hourly")).status, 404);
  screen.fine();
});

test("workflows: list, live graph, nothing moves under the hand, retry from a node and of all", async () => {
  const { body } = await system.api("POST", "/workflows", {
    name: "ingest",
    jobs: [{ name: "first", task: "hold" }, { name: "second", task: "fail", after: ["first"] }, { name: "third", task: "echo", after: ["second"] }],
  });
  const id = body.id;
  const again = screen.button("Retry what failed");
  const stop = screen.button("Cancel", page.locator(".actions"));
  const node = (name) => page.locator(".react-flow__node", { hasText: name });
  await screen.open("/workflows");
  await page.getByRole("link", { name: "ingest" }).click();
  await node("third").waitFor();
  assert.equal(await page.locator(".react-flow__edge").count(), 2);
  await node("first").getByText("running").waitFor();
  assert.ok(await again.isDisabled(), "it runs");
  const places = await Promise.all([again.boundingBox(), stop.boundingBox()]);
  await system.submit("let_go");
  await node("second").getByText("dead letter").waitFor();
  await page.locator(".page-head .state", { hasText: "failed" }).waitFor();
  // A button that took another one's place took the click, too, when a workflow moved at that moment.
  assert.deepEqual(await Promise.all([again.boundingBox(), stop.boundingBox()]), places);
  assert.ok(await stop.isDisabled(), "it ended");

  await node("second").click();
  await page.getByRole("region", { name: "Chosen node" }).getByText("ValueError: no luck").waitFor();
  await screen.button("Retry from here").click();
  await screen.confirm("Retry");
  await screen.see(/jobs? will run again/);
  const attempts = async () => (await flow(id)).jobs.find((one) => one.node === "second").attempts.length;
  await until("it failed again", async () => (await attempts()) === 2 && (await flow(id)).state === "failed");
  await screen.open(`/workflows/${id}`);
  await again.click();
  await screen.confirm("Retry");
  await screen.dialog.waitFor({ state: "detached" });
  await until("it failed a third time", async () => (await attempts()) === 3);
  screen.fine();
});

test("workflows: one that is too big to draw is shown page by page", async () => {
  const jobs = Array.from({ length: 503 }, (_, number) => ({ name: `n${number}`, task: "echo", queue: "nobody", after: number ? ["n0"] : [] }));
  const { body } = await system.api("POST", "/workflows", { name: "big", jobs });
  await screen.open(`/workflows/${body.id}`);
  await screen.see("503 jobs are too many to draw; the table shows them.");
  const rows = page.getByRole("table", { name: "Nodes" }).locator("tbody tr");
  assert.equal(await rows.count(), 500);
  assert.ok(await screen.button("Newest").isDisabled(), "these are the newest");
  await screen.button("Older").click();
  await page.getByRole("link", { name: "n0", exact: true }).waitFor();
  assert.equal(await rows.count(), 3);
  await screen.button("Newest").click();
  await page.getByRole("link", { name: "n502", exact: true }).waitFor();
  await system.api("POST", `/workflows/${body.id}/cancel`);
  screen.fine();
});

test("workflows: a dialog stays while the workflow moves; cancel the whole", async () => {
  const { body } = await system.api("POST", "/workflows", { name: "long", jobs: [{ name: "first", task: "hold" }, { name: "second", task: "hold", after: ["first"] }] });
  const first = body.jobs.find((one) => one.node === "first");
  await system.reach(first.id, "running");
  await screen.open(`/workflows/${body.id}`);
  await screen.button("Cancel", page.locator(".actions")).click();
  await screen.dialog.getByLabel("Reason").fill("not today");
  await system.submit("let_go");
  await page.locator(".react-flow__node", { hasText: "first" }).getByText("completed").waitFor();
  assert.equal(await screen.dialog.getByLabel("Reason").inputValue(), "not today");
  await screen.confirm("Cancel the workflow");
  await page.locator(".page-head .state", { hasText: "cancelled" }).waitFor();
  screen.fine();
});

test("dead letters: by cause, one by one, export", async () => {
  for (let n = 0; n < 3; n += 1) await system.submit("fail", { message: `order ${n} has no address` });
  await until("all are dead", async () => (await matches("state:dead_letter error:address")) === 3);
  await screen.open("/dead-letters");
  const row = page.getByRole("row", { name: /order … has no address/ });
  await row.waitFor();
  assert.equal(await row.locator("td").first().textContent(), "3");
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Export" }).click()]);
  const text = await new Response(await file.createReadStream()).text();
  assert.equal(text.trim().split("\n").length, await matches("state:dead_letter"));
  await screen.button("One by one").click();
  await screen.see("order 2 has no address");
  screen.fine();
});

test("dead letters: a row's button takes exactly the jobs that the row counts", async () => {
  // All are of one type and one task, and the first message stands in the others.
  for (const message of ["no stamp", "no stamp left", "order 7 has no stamp"]) await system.submit("fail", { message });
  await until("all are dead", async () => (await unstamped()) === 3);
  await screen.open("/dead-letters");
  await deadOf("no stamp").getByRole("button", { name: /^Drop/ }).click();
  await screen.dialog.getByText("ValueError: no stamp", { exact: true }).waitFor();
  await screen.confirm("Drop 1");
  await screen.see("1 dead letter dropped");
  await deadOf("no stamp").waitFor({ state: "detached" });
  assert.equal(await unstamped(), 2);
  await screen.button("Replay", deadOf("order … has no stamp")).click();
  await screen.confirm("Replay 1");
  await screen.see("1 dead letter replayed");
  await until("it died again", async () => (await matches("state:queued,assigned,running")) === 0 && (await unstamped()) === 2);
  screen.fine();
});

test("dead letters: replay by filter at a rate, drop", async () => {
  await until("nothing is in work", async () => (await matches("state:queued,assigned,running")) === 0);
  const dead = await matches("state:dead_letter");
  await screen.open("/dead-letters");
  await page.getByRole("combobox", { name: "Task" }).selectOption("fail");
  await page.waitForURL(/task=fail/);
  await screen.button("Replay these").click();
  await page.getByLabel("At most so many a second").fill("50");
  await screen.dialog.getByLabel("Reason").fill("addresses are there");
  await screen.confirm(`Replay ${dead}`);
  await screen.see(/dead letters? replayed/);
  await until("they died again", async () => (await matches("state:dead_letter")) === dead && (await matches("state:queued,retry_queued,assigned,running")) === 0);
  await screen.open("/dead-letters");
  await screen.button("Drop all").click();
  await screen.confirm(`Drop ${dead}`);
  await screen.see(/dead letters? dropped/);
  await screen.see("No dead letters");
  screen.fine();
});

test("audit: who did what, by kind and by person; settings: in force, retention, masked", async () => {
  await screen.open("/audit");
  await page.getByRole("combobox", { name: "Event" }).selectOption("queue_paused");
  await page.waitForURL(/kind=queue_paused/);
  await page.getByRole("row", { name: /queue paused.*numbers/ }).waitFor();
  await page.getByRole("button", { name: /^api:127/ }).first().click();
  await page.waitForURL(/actor=api/);
  await screen.open("/settings");
  for (const name of ["worker.lease", "keeper.purge_interval", "keeper.keep_completed"]) await page.getByText(name, { exact: true }).waitFor();
  assert.equal(await page.getByText("in tests only").count(), 0, "the store's password is masked");
  screen.fine();
});

test("workers: what they run with progress, heartbeat, drain", async () => {
  const held = await system.submit("hold");
  await system.reach(held, "running");
  await screen.open("/workers");
  const card = page.locator(".card", { hasText: "worker-1" });
  await card.getByText("1 of 2").waitFor();
  await card.getByText("Heartbeat").waitFor();
  await card.locator(`a[href="/jobs/${held}"]`).waitFor();
  await screen.button("Drain worker-1").click();
  await screen.confirm("Drain");
  await screen.see("worker-1 drains");
  await card.getByText("draining", { exact: true }).waitFor();
  await system.api("POST", `/jobs/${held}/cancel`, { reason: "so that it can leave" });
  await until("the worker left", () => ended(system.workers[0]));
  await screen.button("Last day").click();
  await card.getByText("left", { exact: true }).waitFor();
  screen.fine();
});

test("workers: stop one, declare one dead", async () => {
  const second = system.startWorker("worker-2");
  await screen.open("/workers");
  await screen.button("Stop worker-2").click();
  await screen.confirm("Stop");
  await until("the worker left", () => ended(second));
  // No keeper lives any more: nobody but the page declares it dead. (A worker that is only stopped may
  // hold the lock of the store's file, and then nobody declares anything.)
  const killed = system.startWorker("worker-3", { STOKER_WORKER__LEASE: "3s", STOKER_WORKER__KEEPER: "false" });
  await screen.button("Stop worker-3").waitFor();
  killed.kill("SIGKILL");
  await screen.button("Declare worker-3 dead").click();
  await screen.confirm("Declare dead");
  await screen.see("worker-3 was declared dead");
  await screen.button("Last day").click();
  await page.locator(".card", { hasText: "worker-3" }).getByText("dead", { exact: true }).waitFor();
  screen.fine();
});
