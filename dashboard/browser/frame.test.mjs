// The frame of every screen: keyboard, help of a screen reader, narrow screens, colours.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { openBrowser, Screen } from "./screen.mjs";
import { System } from "./system.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const NARROW = 375;
let system;
let browser;
let screen;
let page;
let screens;

before(async () => {
  browser = await openBrowser();
  system = await System.start();
  screen = await Screen.open(browser, system);
  ({ page } = screen);
  const done = await system.submit("count", { to: 3 });
  const dead = await system.submit("fail", { message: `no address in ${"x".repeat(300)}` });
  const held = await system.submit("hold");
  await system.submit("echo", { value: 1 }, { delay: "1h", tenant: "acme", queue: "a-queue-with-a-name-that-is-longer-than-most" });
  await system.api("POST", "/scheduled-jobs", { name: "nightly-report-of-everything", task: "count", cron_expression: "0 3 * * MON-FRI", payload: {} });
  const flow = await system.api("POST", "/workflows", { name: "ingest", jobs: [{ name: "first", task: "fail" }, { name: "second", task: "echo", after: ["first"] }] });
  await system.reach(done, "completed");
  await system.reach(dead, "dead_letter");
  await system.reach(held, "running");
  screens = ["/", "/jobs", "/queues", "/workers", "/schedules", "/workflows", "/dead-letters", "/dead-letters?view=list", "/audit", "/settings"];
  screens.push(`/jobs/${done}`, `/jobs/${dead}`, `/jobs/${held}`, `/workflows/${flow.body.id}`, "/nowhere/at/all");
});

after(async () => {
  await browser?.close();
  await system?.close();
});

/** Wherever a path leads inside the page, as a click on a link would. */
async function go(on, path) {
  await on.page.evaluate((to) => history.pushState(null, "", to), path);
  await on.page.locator(".page-head").first().waitFor();
  await on.page.waitForFunction(() => document.querySelector(".bones") === null);
}

for (const colorScheme of ["light", "dark"]) {
  test(`no serious finding of axe on any screen, ${colorScheme}`, async () => {
    const looked = await Screen.open(browser, system, { colorScheme });
    const found = [];
    await looked.settle("/");
    await looked.page.evaluate(axe);
    const look = async (where) => {
      const { violations } = await looked.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
      for (const one of violations.filter(({ impact }) => impact === "serious" || impact === "critical")) {
        found.push(`${where}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`);
      }
    };
    for (const path of screens) {
      await go(looked, path);
      await look(path);
    }
    await go(looked, "/jobs");
    await looked.button("Submit a job").click();
    await look("the dialog to submit");
    await looked.page.keyboard.press("Escape");
    await looked.page.keyboard.press("Control+k");
    await look("the palette");
    assert.deepEqual(found, []);
    looked.fine();
    await looked.close();
  });
}

test("a narrow screen: nothing runs out of the page, the menu opens", async () => {
  const narrow = await Screen.open(browser, system, { viewport: { width: NARROW, height: 812 } });
  await narrow.settle("/");
  for (const path of screens) {
    await go(narrow, path);
    const wide = await narrow.page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= NARROW, `${path} is ${wide} wide`);
  }
  await narrow.button("Menu").click();
  await narrow.page.getByRole("link", { name: /Jobs/ }).click();
  await narrow.page.waitForURL(/\/jobs$/);
  await narrow.button("Submit a job").click();
  const box = await narrow.dialog.boundingBox();
  assert.ok(box.x >= 0 && box.x + box.width <= NARROW, JSON.stringify(box));
  narrow.fine();
  await narrow.close();
});

test("a page whose script cannot be had comes when it can, and the frame stays", async () => {
  const cut = await Screen.open(browser, system);
  await cut.page.route(/\/assets\/Workflow-.*\.js/, (route) => route.abort());
  await cut.settle("/");
  const refused = cut.page.waitForEvent("requestfailed");
  await cut.page.evaluate((to) => history.pushState(null, "", to), screens.find((path) => path.startsWith("/workflows/")));
  await refused;
  await cut.page.getByRole("status", { name: "Loading" }).waitFor();
  await cut.page.locator(".feed.live").waitFor();
  await cut.page.unroute(/\/assets\/Workflow-.*\.js/);
  await cut.page.locator(".react-flow__node").first().waitFor();
  cut.fine("ERR_FAILED");
  await cut.close();
});

test("palette, help, colours, holding the feed: by keys", async () => {
  await screen.settle("/");
  await page.keyboard.press("?");
  await screen.dialog.getByText("Go anywhere").waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Control+k");
  await page.getByRole("combobox", { name: /Page, queue/ }).fill("queu");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/queues$/);
  await page.keyboard.press("g");
  await page.keyboard.press("w");
  await page.waitForURL(/\/workers$/);
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "light");
  const light = await ground();
  await page.keyboard.press("t");
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  assert.notEqual(await ground(), light);
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark", "it is remembered");
  await page.locator(".feed.live").waitFor();
  await page.keyboard.press("t");
  await page.keyboard.press("p");
  await screen.see("Live updates are held.");
  await page.keyboard.press("p");
  await page.locator(".feed.live").waitFor();
  screen.fine();
});

test("with Tab alone everything is reached, has a name and shows where one is", async () => {
  await screen.settle("/");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  for (const path of screens) {
    await go(screen, path);
    await page.keyboard.press("p");
    const wanted = await page.evaluate(() => {
      const all = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex='0']")];
      // What is hidden from readers is no stop: forms are filled with it.
      const seen = all.filter((one) => !one.disabled && one.checkVisibility() && !one.closest("[inert], [aria-hidden='true']"));
      for (const [n, one] of seen.entries()) one.dataset.stop = String(n);
      seen[0].focus();
      return seen.length;
    });
    const reached = new Set(["0"]);
    const wrong = [];
    for (let n = 0; n < wanted + 5; n += 1) {
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => {
        const one = document.activeElement;
        const style = getComputedStyle(one);
        const name = one.getAttribute("aria-label") || one.textContent.trim() || one.labels?.[0]?.textContent || one.title;
        return { stop: one.dataset.stop, html: one.outerHTML.slice(0, 120), named: Boolean(name), shows: style.outlineStyle !== "none" || style.boxShadow !== "none", body: one === document.body };
      });
      if (stop.body) break;
      if (!stop.named || !stop.shows) wrong.push(stop.html);
      if (stop.stop !== undefined) reached.add(stop.stop);
    }
    assert.deepEqual(wrong, [], path);
    const missed = await page.evaluate((had) => [...document.querySelectorAll("[data-stop]")].filter((one) => !had.includes(one.dataset.stop)).map((one) => one.outerHTML.slice(0, 160)), [...reached]);
    assert.deepEqual(missed, [], path);
    await page.keyboard.press("p");
  }
  screen.fine();
});

test("a job is submitted, found, opened and called off without a mouse", async () => {
  await screen.settle("/jobs");
  await page.keyboard.press("n");
  // On a page that has only just come the dialog may have to be fetched.
  await screen.dialog.waitFor();
  await page.keyboard.type("echo");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Control+a");
  await page.keyboard.type('{"value": "by hand"}');
  for (const text of ["keyboard", "", "1h"]) {
    await page.keyboard.press("Tab");
    if (text) await page.keyboard.type(text);
  }
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/jobs\/[0-9a-f-]{36}/);
  const id = page.url().split("/").at(-1);
  assert.equal((await system.api("GET", `/jobs/${id}`)).body.queue, "keyboard");
  await page.keyboard.press("g");
  await page.keyboard.press("j");
  await page.waitForURL(/\/jobs$/);
  await page.keyboard.press("/");
  await page.keyboard.type("queue:keyboard");
  await page.keyboard.press("Enter");
  await screen.see("1 match");
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL(new RegExp(id));
  const cancel = screen.button("Cancel the job");
  // Keys go to whatever has the focus: who looks at the page waits for the dialog, too.
  const inDialog = () => page.waitForFunction(() => document.activeElement?.closest(".dialog"));
  await cancel.focus();
  await page.keyboard.press("Enter");
  await inDialog();
  await page.keyboard.press("Escape");
  await screen.dialog.waitFor({ state: "detached" });
  assert.ok(await cancel.evaluate((one) => one === document.activeElement), "the focus is back where it was");
  await page.keyboard.press("Enter");
  await inDialog();
  await page.keyboard.type("by hand");
  await page.keyboard.press("Enter");
  await page.locator(".life .on", { hasText: "cancelled" }).waitFor();
  screen.fine();
});

test("nothing of the overview is cut off in any window", async () => {
  const own = await Screen.open(browser, system, { viewport: { width: 1440, height: 900 } });
  await own.settle("/");
  for (const width of [1440, 1366, 1280, 1200, 1181, 1180, 1024, NARROW]) {
    await own.page.setViewportSize({ width, height: 900 });
    const parts = own.page.locator(".states > a, .states .state, .stack:has(> .percentiles)");
    const cut = await parts.evaluateAll((found) =>
      found.filter((part) => part.scrollWidth > part.clientWidth).map((part) => part.textContent));
    assert.ok(await parts.count() >= 19);
    assert.deepEqual(cut, [], `at ${width}`);
  }
  own.fine();
  await own.close();
});

test("the picture of a job's life is whole in every window but a narrow one", async () => {
  const job = screens.find((path) => path.startsWith("/jobs/"));
  const own = await Screen.open(browser, system, { viewport: { width: 1440, height: 900 } });
  await own.settle(job);
  for (const width of [1440, 1280, 1279, 1200, 1180, 1024]) {
    await own.page.setViewportSize({ width, height: 900 });
    const box = own.page.locator(".life").locator("..");
    const [shown, drawn] = await box.evaluate((found) => [found.clientWidth, found.scrollWidth]);
    assert.ok(drawn <= shown, `at ${width}: ${shown} of ${drawn} are shown`);
  }
  own.fine();
  await own.close();
});
