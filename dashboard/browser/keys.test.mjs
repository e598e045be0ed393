// Keys and roles on the page: log in, change, log out; who may not, sees no button; nobody else's page can act.
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { openBrowser, Screen } from "./screen.mjs";
import { System, until } from "./system.mjs";

let system;
let browser;
let screen;
const ids = {};

before(async () => {
  browser = await openBrowser();
  system = await System.start();
  ids.done = await system.submit("count", { to: 1 });
  ids.dead = await system.submit("fail", { message: "no luck" });
  ids.acme = await system.submit("echo", { value: 1 }, { delay: "1h", tenant: "acme" });
  ids.waits = await system.submit("echo", { value: 1 }, { delay: "1h" });
  await system.api("POST", "/scheduled-jobs", { name: "nightly", task: "count", cron_expression: "0 3 * * *", payload: {} });
  const flow = await system.api("POST", "/workflows", { name: "ingest", jobs: [{ name: "first", task: "fail" }, { name: "second", task: "echo", after: ["first"] }] });
  ids.flow = flow.body.id;
  await system.reach(ids.done, "completed");
  await system.reach(ids.dead, "dead_letter");
  await until("the workflow failed", async () => (await system.api("GET", `/workflows/${ids.flow}`)).body.state === "failed");
  system.key = await system.makeKey("root", "admin");
  screen = await Screen.open(browser, system);
});

after(async () => {
  await browser?.close();
  await system?.close();
});

async function logIn(on, key) {
  await on.open("/");
  await on.page.getByLabel("API key").fill(key);
  await on.button("Log in").click();
  await on.page.locator(".shell").waitFor();
}

/** Log in on a page of its own, and look at every place that is shown. */
async function walk(key, feed) {
  const on = await Screen.open(browser, system);
  await logIn(on, key);
  on.fine("401");
  const places = await on.page.locator(".nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  const shown = new Map();
  for (const path of [...places, `/jobs/${ids.dead}`, `/jobs/${ids.waits}`, `/workflows/${ids.flow}`]) {
    await on.open(path);
    await on.page.locator(`.feed.${feed}`).waitFor();
    await on.page.locator(".page-head").first().waitFor();
    await on.page.waitForFunction(() => document.querySelector(".bones") === null);
    if (path.startsWith("/workflows/")) await on.page.locator(".react-flow__node", { hasText: "first" }).click();
    // The head of a column puts its rows in order, whatever its name is.
    shown.set(path, await on.page.locator("main").getByRole("button").evaluateAll((all) => all.filter((one) => !one.closest("th")).map((one) => one.getAttribute("aria-label") ?? one.textContent)));
  }
  return { on, places, shown };
}

test("nobody without a key sees anything; a wrong one is refused", async () => {
  for (const path of ["/", "/jobs", `/jobs/${ids.dead}`, "/settings"]) {
    await screen.open(path);
    await screen.page.getByLabel("API key").waitFor();
    assert.equal(await screen.page.getByText("no luck").count(), 0);
    assert.equal(await screen.page.locator(".nav").count(), 0);
  }
  screen.fine("401");
  await screen.page.getByLabel("API key").fill(`stk_${"0".repeat(16)}_${"0".repeat(64)}`);
  await screen.button("Log in").click();
  await screen.page.getByRole("alert").waitFor();
  screen.fine("401");
});

test("log in: a cookie that no script reads, and changes that carry a token", async () => {
  await logIn(screen, system.key);
  await screen.page.locator(".feed.live").waitFor();
  screen.fine("401");
  assert.equal(await screen.page.evaluate(() => document.cookie), "");
  const kept = await screen.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.ok(!kept.includes("stk_") && !kept.includes("stl_"), kept);
  const [cookie] = await screen.page.context().cookies();
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Lax");
  await screen.open("/queues");
  const asked = screen.page.waitForRequest((request) => request.url().endsWith("/queues/numbers/pause"));
  await screen.button("Pause numbers").click();
  assert.match((await asked).headers()["x-csrf-token"], /^[0-9a-f]{64}$/);
  await screen.button("Resume numbers").click();
  await screen.button("Pause numbers").waitFor();
  screen.fine();
});

test("a change with the cookie but without the token is refused, from this page and from another", async () => {
  const own = await screen.page.evaluate(async () => {
    const answer = await fetch("/api/v1/queues/numbers/pause", { method: "POST" });
    return [answer.status, (await answer.json()).error.code];
  });
  assert.deepEqual(own, [403, "forbidden"]);
  screen.fine("403");
  const evil = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(
    `<form method="post" enctype="text/plain" action="${system.url}/api/v1/queues/numbers/pause"><button>win</button></form>`,
  )).listen(0, "127.0.0.1");
  await once(evil, "listening");
  const page = await screen.page.context().newPage();
  await page.goto(`http://127.0.0.1:${evil.address().port}/`);
  const [answer] = await Promise.all([page.waitForResponse(/pause$/), page.getByRole("button", { name: "win" }).click()]);
  assert.equal(answer.status(), 403);
  await page.close();
  evil.close();
  assert.equal((await system.api("GET", "/queues/numbers")).body.paused, false);
});

test("make a key, shown once; it works; revoke it, and it does not", async () => {
  await screen.open("/settings");
  await screen.button("New key").click();
  await screen.dialog.getByLabel("Name").fill("clerk");
  await screen.dialog.getByLabel(/operate/).check();
  await screen.confirm("Make the key");
  const text = await screen.dialog.locator("code").textContent();
  assert.match(text, /^stk_/);
  await screen.button("Copy the key", screen.dialog).click();
  assert.equal(await screen.page.evaluate(() => navigator.clipboard.readText()), text);
  await screen.confirm("Done");
  await screen.page.getByRole("row", { name: /clerk/ }).waitFor();
  await screen.page.reload();
  await screen.page.getByRole("row", { name: /clerk/ }).waitFor();
  assert.equal(await screen.page.getByText(text.slice(-64)).count(), 0, "it is shown once");

  const clerk = await Screen.open(browser, system);
  await logIn(clerk, text);
  await clerk.page.locator(".feed.live").waitFor();
  clerk.fine("401");
  await screen.button("Revoke clerk").click();
  await screen.confirm("Revoke");
  await screen.see("clerk is revoked");
  await screen.page.getByRole("row", { name: /clerk.*revoked/ }).waitFor();
  await clerk.page.getByLabel("API key").waitFor();
  assert.equal((await fetch(`${system.url}/api/v1/me`, { headers: { authorization: `Bearer ${text}` } })).status, 401);
  await clerk.close();
  screen.fine();
});

test("a key's name and its other fields are refused where they cannot be", async () => {
  await screen.open("/settings");
  await screen.button("New key").click();
  await screen.dialog.getByLabel("Name").fill("<img src=x>");
  await screen.confirm("Make the key");
  await screen.dialog.getByRole("alert").waitFor();
  screen.fine("422");
});

/** Words on buttons that do something; the rest looks, sorts, copies, folds. */
const STATE = /^(blocked|scheduled|queued|assigned|running|retry queued|completed|dead letter|cancelled)[\d.kM]*$/;
const DOES = /^(submit|duplicate|delete|cancel|retry|pause|resume|limit|run now|new |change|remove|drain|stop|declare|replay|drop|revoke|choose)/i;
const LOOKS = /^(CLI|curl|copy|columns|newer|older|newest|by cause|one by one|living|last day|next firings|15 min|\d+ h|all|clear|key:|api:|cli:|system|keeper|worker|\{|\[|zoom|fit view)/i;

test("a key that may only read sees no button that it cannot use", async () => {
  const { on, places, shown } = await walk(await system.makeKey("reader", "read"), "live");
  assert.deepEqual(places, ["/", "/jobs", "/queues", "/workers", "/schedules", "/workflows", "/dead-letters", "/audit"]);
  for (const [path, buttons] of shown) {
    const others = buttons.filter((text) => !STATE.test(text));
    assert.deepEqual(others.filter((text) => DOES.test(text)), [], path);
    assert.deepEqual(others.filter((text) => !LOOKS.test(text)), [], `${path}: is it known that these change nothing?`);
  }
  assert.equal(await on.page.getByRole("checkbox").count(), 0);
  on.fine();
  await on.open("/settings");
  await on.see("This key does not open this page");
  for (const key of ["n", "x"]) await on.page.keyboard.press(key);
  assert.equal(await on.dialog.count(), 0);
  on.fine();
  await on.close();
});

test("a key that may operate sees what it may do, and no submit", async () => {
  const { on, shown } = await walk(await system.makeKey("operator", "operate"), "live");
  const has = (path, name) => assert.ok(shown.get(path).some((text) => text.startsWith(name)), `${path}: ${name}: ${shown.get(path)}`);
  has("/queues", "Pause numbers");
  has("/workers", "Drain worker-1");
  has("/schedules", "Run now: nightly");
  has("/dead-letters", "Replay all");
  has(`/jobs/${ids.dead}`, "Retry");
  has(`/jobs/${ids.waits}`, "Cancel the job");
  has(`/workflows/${ids.flow}`, "Retry from here");
  for (const [path, buttons] of shown) assert.deepEqual(buttons.filter((text) => /submit|duplicate/i.test(text)), [], path);
  on.fine();
  await on.close();
});

test("a key bound to a tenant sees that tenant's jobs, and nothing asks for more than it may", async () => {
  const { body } = await system.api("POST", "/api-keys", { name: "acme", scopes: ["operate", "submit"], tenant: "acme" });
  const on = await Screen.open(browser, system);
  await logIn(on, body.key);
  await on.page.waitForURL(/\/jobs$/);
  on.fine("401");
  await on.page.locator(".feed", { hasText: "Every 5 s" }).waitFor();
  await on.page.locator("tbody tr").first().waitFor();
  assert.equal(await on.page.locator("tbody tr").count(), 1);
  const places = await on.page.locator(".nav a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
  assert.deepEqual(places, ["/jobs", "/schedules", "/workflows", "/dead-letters", "/audit"]);
  for (const path of [...places, `/jobs/${ids.acme}`]) {
    await on.open(path);
    await on.page.locator(".page-head").first().waitFor();
    await on.page.waitForFunction(() => document.querySelector(".bones") === null);
  }
  on.fine();
  const asked = on.page.waitForRequest((request) => request.url().includes("/api/v1/jobs?"));
  await on.open("/jobs");
  await asked;
  await system.submit("echo", { value: 2 }, { delay: "1h", tenant: "acme" });
  await on.page.locator("tbody tr").nth(1).waitFor();
  await on.button("Submit a job").click();
  await on.dialog.getByLabel("Task").fill("echo");
  await on.confirm("Submit");
  await on.page.waitForURL(/\/jobs\/[0-9a-f-]{36}/);
  on.fine();
  await on.open("/queues");
  await on.see("This key does not open this page");
  await on.close();
});

test("a key bound to queues, and one that may not look at all", async () => {
  const { body } = await system.api("POST", "/api-keys", { name: "lane", scopes: ["operate"], queues: ["trouble"] });
  const on = await Screen.open(browser, system);
  await logIn(on, body.key);
  on.fine("401");
  for (const path of ["/jobs", "/queues", "/workers", "/dead-letters", "/audit", `/jobs/${ids.dead}`]) {
    await on.open(path);
    await on.page.locator(".feed", { hasText: "Every 5 s" }).waitFor();
    await on.page.waitForFunction(() => document.querySelector(".bones") === null);
    assert.equal(await on.page.getByRole("button", { name: /^(Drain|Stop)/ }).count(), 0);
  }
  on.fine();
  await on.close();
  const sender = await Screen.open(browser, system);
  await logIn(sender, await system.makeKey("sender", "submit"));
  await sender.see("This key may not look");
  sender.fine("401");
  await sender.close();
});

test("log out: the cookie is worth nothing afterwards, and nothing stays on the screen", async () => {
  const [cookie] = await screen.page.context().cookies();
  await screen.open("/jobs");
  await screen.button(/^Log out/).click();
  await screen.page.getByLabel("API key").waitFor();
  assert.equal(await screen.page.locator(".nav").count(), 0);
  assert.deepEqual(await screen.page.context().cookies(), []);
  const again = await fetch(`${system.url}/api/v1/me`, { headers: { cookie: `${cookie.name}=${cookie.value}` } });
  assert.equal(again.status, 401);
  await screen.page.goBack();
  await screen.page.getByLabel("API key").waitFor();
});
