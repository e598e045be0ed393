// Pictures of every screen, in light and dark. Run by scripts/screenshots.py: node screenshots.mjs FOLDER webp|png
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { openBrowser, Screen } from "./screen.mjs";
import { System, until } from "./system.mjs";

const [into, format = "webp"] = process.argv.slice(2);
const WIDE = { width: 1360, height: 850 };
const NARROW = { width: 375, height: 760 };

const node = (name, task, payload, after = []) => ({ name, task, payload, after });

/** The jobs of an order; some nodes only where they are wanted. */
const order = (n, wanted, address = "Harbour Street 1") => [
  node("import", "order.import", { order: n, address }),
  node("invoice", "invoice.send", { order: n, to: "ada@example.com" }, ["import"]),
  node("pictures", "image.resize", { key: `orders/${n}.jpg`, widths: [320, 640, 960] }, ["import"]),
  ...(wanted.includes("month") ? [node("month", "report.build", { month: "November", rows: 450_000 }, ["invoice"])] : []),
  node("index", "search.index", { product: n }, ["pictures"]),
  ...(wanted.includes("tell") ? [node("tell", "webhook.deliver", { url: "https://erp.example/hooks", event: "order.done" }, [wanted.includes("month") ? "month" : "invoice", "index"])] : []),
];

async function life(system) {
  const ids = {};
  const api = async (path, body) => (await system.api("POST", path, body)).body;
  await api("/scheduled-jobs", { name: "nightly-report", task: "report.build", cron_expression: "0 3 * * MON-FRI", timezone: "Europe/Berlin", payload: { month: "November" } });
  await api("/scheduled-jobs", { name: "reindex", task: "search.index", cron_expression: "*/15 * * * *", timezone: "UTC", payload: { product: 1 } });
  await api("/scheduled-jobs", { name: "newsletter", task: "invoice.send", cron_expression: "0 9 1 * *", timezone: "Europe/Berlin", payload: { order: 1, to: "list@example.com" } });
  await api("/scheduled-jobs/newsletter/pause");
  for (let n = 0; n < 3; n += 1) await api("/scheduled-jobs/reindex/run");
  await api("/workflows", { name: "order-10478", jobs: order(10478, []) });
  await api("/workflows", { name: "order-10479", jobs: order(10479, ["tell"], null) });
  for (const n of [10480, 10481]) await api("/workflows", { name: `order-${n}`, jobs: order(n, ["tell"]) });
  ids.flow = (await api("/workflows", { name: "order-10482", jobs: order(10482, ["month", "tell"]) })).id;
  const submit = (task, payload, options) => system.submit(task, payload, options);
  ids.dead = await submit("order.import", { order: 10477 });
  for (let n = 0; n < 5; n += 1) await submit("webhook.deliver", { url: "https://partner.example/hooks", event: `order.${n}.paid` });
  for (let n = 0; n < 12; n += 1) await submit("invoice.send", { order: 10500 + n, to: `customer${n}@example.com` }, { delay: `${n + 2}m` });
  ids.report = await submit("report.build", { month: "October", rows: 360_000 }, { priority: "high", tenant: "north" });
  for (let n = 0; n < 4; n += 1) await submit("image.resize", { key: `products/${n}.jpg`, widths: [320, 640, 960, 1280, 1920, 2560] });
  await api("/queues/images/limit", { limit: 3 });
  await api("/queues/hooks/pause");
  for (let n = 0; n < 7; n += 1) await submit("webhook.deliver", { url: "https://erp.example/hooks", event: `order.${n}.sent` });
  const called = await submit("invoice.send", { order: 10476, to: "twice@example.com" }, { delay: "1h" });
  await api("/jobs/bulk", { action: "cancel", ids: [called], reason: "the customer called" });
  await system.reach(ids.dead, "dead_letter");
  await until("the report is under way", async () => (await system.api("GET", `/jobs/${ids.report}`)).body.progress > 0.02);
  return ids;
}

/** Jobs go on coming while pictures are taken. */
function traffic(system) {
  let n = 20_000;
  const one = () => {
    n += 1;
    void system.submit("invoice.send", { order: n, to: `customer${n % 97}@example.com` }).catch(() => undefined);
    if (n % 3 === 0) void system.submit("search.index", { product: n }).catch(() => undefined);
    if (n % 9 === 0) void system.submit("image.resize", { key: `products/${n}.jpg`, widths: [320, 640] }).catch(() => undefined);
  };
  return setInterval(one, 700);
}

async function take(screen, name) {
  await screen.page.evaluate(() => document.fonts.ready);
  const devtools = await screen.page.context().newCDPSession(screen.page);
  const { data } = await devtools.send("Page.captureScreenshot", { format, ...(format === "webp" ? { quality: 82 } : {}) });
  writeFileSync(join(into, `${name}.${format}`), Buffer.from(data, "base64"));
}

async function logIn(screen) {
  await screen.page.getByLabel("API key").fill(screen.system.key);
  await screen.button("Log in").click();
  await screen.page.locator(".feed.live").waitFor();
}

async function dialogs(screen, scheme) {
  const { page } = screen;
  await screen.settle("/jobs?q=queue%3Amail%20state%3Ascheduled");
  await page.getByLabel("Choose all on this page").check();
  await page.getByRole("region", { name: "Chosen jobs" }).getByRole("button", { name: "Cancel" }).click();
  await screen.button(/^Cancel \d/, screen.dialog).waitFor();
  await screen.dialog.getByLabel("Reason").fill("the mail server is away until noon");
  await take(screen, `bulk-${scheme}`);
  await page.keyboard.press("Escape");
  await screen.settle("/jobs");
  await page.keyboard.press("n");
  await screen.dialog.getByLabel("Task").fill("image.resize");
  await take(screen, `submit-${scheme}`);
  await page.keyboard.press("Escape");
  // Keys go to the dialog while it is there, and are commands until the box has the focus.
  await screen.dialog.waitFor({ state: "detached" });
  await page.keyboard.press("/");
  await page.locator("#search:focus").waitFor();
  await page.keyboard.type("state:dead_letter queue:");
  await page.getByRole("option").first().waitFor();
  await take(screen, `search-${scheme}`);
}

async function pictures(browser, system, ids, scheme) {
  const screen = await Screen.open(browser, system, { viewport: WIDE, colorScheme: scheme, locale: "en-GB", timezoneId: "Europe/Berlin" });
  const { page } = screen;
  await screen.open("/");
  await page.getByLabel("API key").waitFor();
  await take(screen, `login-${scheme}`);
  await logIn(screen);
  const places = { overview: "/", jobs: "/jobs", job: `/jobs/${ids.report}`, failed: `/jobs/${ids.dead}`, queues: "/queues", workers: "/workers", schedules: "/schedules", workflows: "/workflows", workflow: `/workflows/${ids.flow}`, "dead-letters": "/dead-letters", audit: "/audit", settings: "/settings" };
  for (const [name, path] of Object.entries(places)) {
    await screen.settle(path);
    if (name === "overview") await page.locator(".chart canvas").waitFor();
    if (name === "queues") await page.locator(".spark").nth(5).waitFor();
    if (name === "schedules") await screen.button("Next firings and payload").nth(1).click();
    if (name === "workflow") {
      await page.locator(".react-flow__node", { hasText: "month" }).click();
      await page.locator(".react-flow__edge").first().waitFor();
    }
    await take(screen, `${name}-${scheme}`);
  }
  await dialogs(screen, scheme);
  await page.setViewportSize(NARROW);
  await screen.settle("/");
  await take(screen, `narrow-${scheme}`);
  await screen.close();
}

const browser = await openBrowser();
const system = await System.start({ worker: "web-1" });
system.startWorker("web-2");
let coming;
try {
  const ids = await life(system);
  system.key = await system.makeKey("ada", "admin");
  const keys = { ci: { scopes: ["submit"], queues: ["imports"] }, grafana: { scopes: ["read"] }, "on-call": { scopes: ["operate"] }, "north-support": { scopes: ["operate"], tenant: "north" }, "old-laptop": { scopes: ["admin"] } };
  for (const [name, key] of Object.entries(keys)) await system.api("POST", "/api-keys", { name, expires: "90d", ...key });
  await system.api("DELETE", "/api-keys/old-laptop");
  coming = traffic(system);
  for (const scheme of ["light", "dark"]) await pictures(browser, system, ids, scheme);
} finally {
  clearInterval(coming);
  await browser.close();
  await system.close();
}
