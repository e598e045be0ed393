// A system to look at. Everything that is started here is stopped here.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = new URL("../../", import.meta.url).pathname;
const { DASHBOARD_TEST_STORE, DASHBOARD_TEST_PYTHON = `${root}.venv/bin/python`, DASHBOARD_TEST_APP = `${root}tests/browser` } = process.env;
/** How long anything on the screen may take to appear; a busy machine is slow. */
export const SOON = Number(process.env.DASHBOARD_TEST_SOON ?? 60_000);

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
  static async start({ worker = "worker-1" } = {}) {
    const system = new System();
    system.workers = [];
    system.folder = mkdtempSync(join(tmpdir(), "dashboard-browser-"));
    system.store = DASHBOARD_TEST_STORE ?? `sqlite:///${system.folder}/stoker.db`;
    system.port = await freePort();
    system.url = `http://127.0.0.1:${system.port}`;
    await system.startServer();
    if (worker) system.startWorker(worker);
    return system;
  }

  startWorker(name, environment = {}) {
    const worker = this.#spawn(["worker", "--name", name, "--concurrency", "4"], environment);
    this.workers.push(worker);
    return worker;
  }

  /** Start a fleet; `text` is its configuration. */
  startFleet(text) {
    const file = join(this.folder, "fleet.toml");
    writeFileSync(file, text);
    const fleet = this.#spawn(["fleet", "--config", file]);
    this.workers.push(fleet);
    return fleet;
  }

  /** Make a key; the first one ends the time in which nobody had to show one, so requests show it. */
  async makeKey(name, ...scopes) {
    const child = this.#spawn(["keys", "create", name, ...scopes.flatMap((scope) => ["--scope", scope])]);
    await once(child, "close");
    const found = /^stk_\S+$/m.exec(child.said)?.[0];
    if (!found) throw new Error(`no key was made: ${child.said}`);
    return found;
  }

  #spawn(args, environment = {}) {
    const child = spawn(DASHBOARD_TEST_PYTHON, ["-m", "stoker", ...args, "--app", "tasks:app"], {
      cwd: DASHBOARD_TEST_APP,
      env: { ...process.env, STOKER_STORE: this.store, PYTHONDONTWRITEBYTECODE: "1", STOKER_WORKER__BEAT: "1s", ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => { child.said += data; });
    return child;
  }

  async startServer() {
    this.server = this.#spawn(["server", "--no-keeper", "--port", String(this.port)]);
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
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(this.key ? { authorization: `Bearer ${this.key}` } : {}),
      },
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
    // A worker would wait for what it holds; nobody needs that any more.
    await Promise.all([...this.workers.map((worker) => stop(worker, "SIGKILL")), stop(this.server)]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export const ended = (child) => child.exitCode !== null || child.signalCode !== null;

async function stop(child, signal = "SIGTERM") {
  if (ended(child)) return;
  const gone = once(child, "exit");
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  await gone;
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
