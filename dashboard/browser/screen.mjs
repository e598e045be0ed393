// A browser to look with, and a screen that remembers everything that went wrong on it.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";
import { SOON } from "./system.mjs";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

export async function openBrowser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

/** A page in a context of its own: no cookie of another one. */
export class Screen {
  static async open(browser, system, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const screen = new Screen(await context.newPage(), system);
    await screen.#listen();
    return screen;
  }

  constructor(page, system) {
    this.page = page;
    this.system = system;
    this.wrong = [];
    this.page.setDefaultTimeout(SOON);
  }

  async #listen() {
    const { page, wrong } = this;
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) wrong.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
    page.on("response", (answer) => {
      if (answer.status() >= 400) wrong.push(`answer: ${answer.status()} ${answer.request().method()} ${answer.url()}`);
    });
    page.on("dialog", (dialog) => {
      wrong.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    await page.exposeFunction("tellViolation", (text) => wrong.push(`policy: ${text}`));
    await page.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (event) => {
        window.tellViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile ?? ""}`);
      });
    });
  }

  open(path) {
    return this.page.goto(this.system.url + path);
  }

  /** Open a page, and wait until everything on it has arrived. */
  async settle(path) {
    await this.open(path);
    await this.page.locator(".feed.live").waitFor();
    await this.page.locator(".page-head").first().waitFor();
    await this.page.waitForFunction(() => document.querySelector(".bones") === null);
  }

  button(name, scope = this.page) {
    return scope.getByRole("button", typeof name === "string" ? { name, exact: true } : { name });
  }

  /** The button that does it, in the dialog that asks. */
  async confirm(name) {
    await this.button(name, this.dialog).click();
  }

  /** A form, or a question that wants an answer. */
  get dialog() {
    return this.page.getByRole("dialog").or(this.page.getByRole("alertdialog"));
  }

  see(text) {
    return this.page.getByText(text).first().waitFor();
  }

  /** Nothing went wrong since the last look, but what the test itself provoked. */
  fine(...provoked) {
    const wrong = this.wrong.splice(0).filter((text) => !provoked.some((one) => (typeof one === "string" ? text.includes(one) : one.test(text))));
    assert.deepEqual(wrong, []);
  }

  close() {
    return this.page.context().close();
  }
}
