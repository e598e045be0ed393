// A system to look at, and a browser to look with. Everything that is started here is stopped here.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const root = new URL("../../", import.meta.url).pathname;
const { DASHBOARD_TEST_STORE, DASHBOARD_TEST_PYTHON = `${root}.venv/bin/python`, DASHBOARD_TEST_APP = `${root}tests/browser` } = process.env;
/** How long anything on the screen may take to appear; a busy machine is slow. */
export const SOON = 60_000;
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A server and a worker of their own on one store. */
export class System {
  static async start({ worker = true, name = "worker-1" } = {}) {
    const system = new System();
    system.folder = mkdtempSync(join(tmpdir(), "dashboard-browser-"));
    system.store = DASHBOARD_TEST_STORE ?? `sqlite:///${system.folder}/stoker.db`;
    system.port = await freePort();
    system.url = `http://127.0.0.1:${system.port}`;
    await system.startServer();
    if (worker) system.worker = system.#spawn(["worker", "--name", name, "--concurrency", "4"]);
    return system;
  }

  #spawn(args) {
    const child = spawn(DASHBOARD_TEST_PYTHON, ["-m", "stoker", ...args, "--app", "tasks:app"], {
      cwd: DASHBOARD_TEST_APP,
      env: { ...process.env, STOKER_STORE: this.store, PYTHONDONTWRITEBYTECODE: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { child.said += data; });
    return child;
  }

  async startServer() {
    this.server = this.#spawn(["server", "--port", String(this.port)]);
    await until("the server answers", async () => {
      if (this.server.exitCode !== null) throw new Error(`the server ended: ${this.server.said}`);
      return fetch(`${this.url}/ready`).then((answer) => answer.ok, () => false);
    });
  }

  async stopServer() {
    await stop(this.server);
  }

  async api(verb, path, body) {
    const answer = await fetch(`${this.url}/api/v1${path}`, {
      method: verb,
      headers: body === undefined ? {} : { "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  }

  async submit(task, payload = {}, options = {}) {
    const { status, body } = await this.api("POST", "/jobs", { task, payload, ...options });
    if (status !== 201) throw new Error(`${task} was not submitted: ${JSON.stringify(body)}`);
    return body.id;
  }

  /** Wait until a job is in a state. */
  async reach(id, state) {
    return until(`job ${id} is ${state}`, async () => (await this.api("GET", `/jobs/${id}`)).body.state === state);
  }

  async close() {
    await Promise.all([this.worker && stop(this.worker), stop(this.server)]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function stop(child) {
  if (child.exitCode !== null) return;
  const ended = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await ended;
  clearTimeout(timer);
}

export async function until(what, check, limit = SOON) {
  const end = Date.now() + limit;
  for (;;) {
    if (await check()) return;
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

export async function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A page that remembers everything that went wrong on it. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  const page = await context.newPage();
  page.wrong = [];
  page.setDefaultTimeout(SOON);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) page.wrong.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => page.wrong.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    page.wrong.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.exposeFunction("tellViolation", (text) => page.wrong.push(`policy: ${text}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      window.tellViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile ?? ""}`);
    });
  });
  return page;
}
