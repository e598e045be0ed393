// A fleet with kinds, one of which cannot run: seen, scaled and drained from the page.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openBrowser, Screen } from "./screen.mjs";
import { ended, System, until } from "./system.mjs";

const FLEET = `
[fleet]
name = "mill"
[fleet.kinds.good]
queues = ["numbers"]
concurrency = 4
max = 3
[fleet.kinds.bad]
queues = ["nothing"]
command = "false"
`;

let system;
let browser;
let screen;
let page;
let fleet;

before(async () => {
  browser = await openBrowser();
  system = await System.start({ worker: null });
  fleet = system.startFleet(FLEET);
  screen = await Screen.open(browser, system);
  ({ page } = screen);
});

after(async () => {
  await browser?.close();
  await system?.close();
});

const row = (name) => page.getByRole("table", { name: "Kinds of workers in fleet mill" }).getByRole("row", { name });
const commands = async () => (await system.api("GET", "/events?kind=fleet_commanded")).body.events;

test("a fleet is shown by kind, with its workers and what is wrong with them", async () => {
  await screen.open("/workers");
  await row(/good/).getByText("1 / 1").waitFor();
  await row(/bad/).getByText("cannot run").waitFor();
  const workers = page.getByRole("table", { name: "Workers of fleet mill" });
  await workers.getByRole("row", { name: /mill-bad-1 backing off.*ended with exit code 1, \d+ times in a row/ }).waitFor();
  await workers.getByRole("row", { name: /mill-good-1 ready/ }).waitFor();
});

test("a kind is scaled until the fleet is reloaded, with the reason in the trail", async () => {
  await screen.button("Scale good of fleet mill").click();
  await page.getByLabel("Fewest workers").fill("2");
  await page.getByLabel("Reason").fill("the sale begins");
  await screen.confirm("Scale");
  await row(/good/).getByText("2 / 2").waitFor();
  await row(/good/).getByText("changed").waitFor();
  const [command] = await commands();
  assert.deepEqual(
    [command.details.kind, command.details.min, command.details.max, command.details.reason],
    ["good", 2, 3, "the sale begins"],
  );
});

test("a fleet drains and ends", async () => {
  await screen.button("Drain fleet mill").click();
  await screen.confirm("Drain");
  await until("the fleet has ended", () => ended(fleet));
  assert.equal(fleet.exitCode, 0, fleet.said);
  await page.getByText("No worker lives").waitFor();
  screen.fine();
});
