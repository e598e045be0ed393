"use strict";

/* Reads /openapi.json and shows it; every request goes to this server only. Texts from the
   document and from answers become text nodes, never markup. */

const METHODS = ["get", "post", "patch", "delete"];
const DEEPEST = 5;
const LONGEST = 200000;

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") element.className = value;
    else if (name in element && name !== "list") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/* Text in which `backticks` mark code. */
function prose(text) {
  return (text || "").split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));
}

function resolve(api, schema) {
  let found = schema || {};
  while (found.$ref) found = api.components.schemas[found.$ref.split("/").pop()] || {};
  return found;
}

/* A schema as people write types. */
function typeOf(api, schema, depth) {
  const options = schema.anyOf && !schema.properties ? schema.anyOf : schema.oneOf;
  if (options && !schema.properties) return options.map((one) => typeOf(api, one, depth)).join(" | ");
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const target = resolve(api, schema);
    return depth >= DEEPEST && target.properties ? name : typeOf(api, target, depth);
  }
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return typeOf(api, schema.items || {}, depth) + "[]";
  if (schema.properties) return objectOf(api, schema, depth);
  return schema.format ? schema.type + " (" + schema.format + ")" : schema.type || "any";
}

function objectOf(api, schema, depth) {
  const indent = "  ".repeat(depth + 1);
  const required = new Set(schema.required || []);
  const lines = Object.entries(schema.properties).map(
    ([name, inner]) =>
      indent + name + (required.has(name) ? "" : "?") + ": " + typeOf(api, inner, depth + 1)
  );
  return "{\n" + lines.join("\n") + "\n" + "  ".repeat(depth) + "}";
}

function parameterRow(api, parameter, inputs) {
  const schema = parameter.schema || {};
  const input = make("input", {
    name: parameter.name,
    placeholder: schema.default === undefined || schema.default === null ? "" : String(schema.default),
    autocomplete: "off",
  });
  inputs.push([parameter, input]);
  const label = make("label", { class: parameter.required ? "required" : "" }, make("code", {}, parameter.name));
  label.append(" ", input);
  const told = [typeOf(api, schema, 0), ...(parameter.description ? [" · ", ...prose(parameter.description)] : [])];
  return make("tr", {}, make("td", {}, label), make("td", { class: "told" }, ...told));
}

function address(path, inputs) {
  const query = new URLSearchParams();
  let filled = path;
  for (const [parameter, input] of inputs) {
    const value = input.value.trim();
    if (parameter.in === "path") filled = filled.replace("{" + parameter.name + "}", encodeURIComponent(value));
    else if (value) {
      const many = JSON.stringify(parameter.schema || {}).includes('"array"');
      for (const one of many ? value.split(",") : [value]) query.append(parameter.name, one.trim());
    }
  }
  return filled + (query.size ? "?" + query : "");
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function readInto(response, output, head) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    text = (text + decoder.decode(value, { stream: true })).slice(-LONGEST);
    output.textContent = head + text;
  }
  output.textContent = head + pretty(text);
}

function tryIt(method, path, inputs, body) {
  const output = make("pre", { hidden: true });
  const send = make("button", { type: "button" }, "Send");
  const stop = make("button", { type: "button", hidden: true }, "Stop");
  send.addEventListener("click", async () => {
    const control = new AbortController();
    const url = address(path, inputs);
    const options = { method: method.toUpperCase(), signal: control.signal };
    if (body && body.value.trim()) {
      options.headers = { "Content-Type": "application/json" };
      options.body = body.value;
    }
    stop.onclick = () => control.abort();
    stop.hidden = output.hidden = false;
    const head = options.method + " " + url + "\n\n";
    output.textContent = head;
    try {
      if (options.method !== "GET" && csrf) options.headers = { ...options.headers, "X-CSRF-Token": csrf };
      const response = await fetch(url, options);
      await readInto(response, output, head + response.status + " " + response.statusText + "\n\n");
    } catch (error) {
      output.textContent += "\n" + error.message;
    }
    stop.hidden = true;
  });
  return [make("div", { class: "row" }, send, stop), output];
}

function bodyPart(api, operation) {
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  if (!content) return [null, []];
  const body = make("textarea", { spellcheck: false, ariaLabel: "Body" });
  body.value = content.example ? JSON.stringify(content.example, null, 2) : "";
  const shape = make("details", {}, make("summary", {}, "Shape of the body"), make("pre", {}, typeOf(api, content.schema, 0)));
  return [body, [make("h3", {}, "Body"), body, shape]];
}

function answersPart(api, operation) {
  const rows = Object.entries(operation.responses || {}).map(([status, answer]) => {
    const content = Object.entries(answer.content || {})[0];
    const isError = content && JSON.stringify(content[1]).includes("/Error\"");
    const shape = content && content[1].schema && !isError ? make("pre", {}, typeOf(api, content[1].schema, 0)) : null;
    const inside = shape ? make("details", {}, make("summary", {}, answer.description), shape) : answer.description;
    return make("tr", {}, make("td", {}, make("code", {}, status)), make("td", {}, inside));
  });
  return [make("h3", {}, "Answers"), make("table", {}, ...rows)];
}

function show(api, method, path, operation) {
  const box = make("details", { id: operation.operationId });
  const summary = make(
    "summary", {},
    make("span", { class: "method " + method }, method.toUpperCase()),
    make("span", { class: "path" }, path),
    make("span", { class: "told" }, operation.summary || "")
  );
  box.append(summary);
  box.dataset.text = [method, path, operation.summary, ...(operation.tags || [])].join(" ").toLowerCase();
  box.addEventListener("toggle", () => {
    if (box.childElementCount > 1) return;
    const inputs = [];
    const rows = (operation.parameters || []).map((one) => parameterRow(api, one, inputs));
    const [body, bodyElements] = bodyPart(api, operation);
    box.append(make(
      "div", { class: "inside" },
      make("p", {}, ...prose(operation.description)),
      rows.length ? make("table", {}, ...rows) : null,
      ...bodyElements,
      ...tryIt(method, path, inputs, body),
      ...answersPart(api, operation)
    ));
  });
  return box;
}

function render(api) {
  document.getElementById("version").textContent = api.info.version;
  document.getElementById("about").append(...prose(api.info.description));
  const groups = new Map((api.tags || []).map((tag) => [tag.name, { about: tag.description, boxes: [] }]));
  for (const [path, operations] of Object.entries(api.paths)) {
    for (const method of METHODS.filter((one) => one in operations)) {
      const operation = operations[method];
      groups.get((operation.tags || ["system"])[0]).boxes.push(show(api, method, path, operation));
    }
  }
  const sections = [...groups].map(([name, { about, boxes }]) =>
    make("section", {}, make("h2", {}, name, " ", make("span", {}, about || "")), ...boxes)
  );
  document.getElementById("operations").replaceChildren(...sections);
  const chosen = document.getElementById(location.hash.slice(1));
  if (chosen) chosen.open = true;
}

function filter() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/);
  for (const section of document.querySelectorAll("section")) {
    const boxes = [...section.querySelectorAll(":scope > details")];
    for (const box of boxes) box.hidden = !words.every((word) => box.dataset.text.includes(word));
    section.hidden = boxes.every((box) => box.hidden);
  }
}

/* What a page that is logged in must send along with each change. */
let csrf = null;

async function main() {
  document.getElementById("filter").addEventListener("input", filter);
  try {
    const response = await fetch("/openapi.json");
    if (response.status === 401) throw new Error("this server asks for a key; log in at / first.");
    const me = await (await fetch("/api/v1/me")).json();
    csrf = me.csrf;
    render(await response.json());
  } catch (error) {
    document.getElementById("operations").textContent = "The description could not be read: " + error.message;
  }
}

main();
