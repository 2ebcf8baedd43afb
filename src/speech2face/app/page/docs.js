// The API page: every route of the service's own description, with its parameters and a request that can be sent.

import { currentToken, useToken } from "./service.js";

const LONG = 160; // letters of a string in an answer; pictures in base64 have a hundred thousand

const at = (id) => document.getElementById(id);

function element(name, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(name), attributes);
  made.append(...children);
  return made;
}

async function send(path, options = {}) {
  const token = currentToken();
  const headers = { ...options.headers, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers, cache: "no-store" });
  if (response.status === 401) {
    at("token-form").hidden = false;
    at("token").focus();
  }
  return response;
}

function state(name, text) {
  at("service").dataset.state = name;
  at("service-text").textContent = text;
}

// ---- What a route takes

/** A control for one value of a schema, named as the value is. */
function control({ name, schema, required }) {
  if (schema.enum) {
    const options = schema.enum.map((value) => new Option(value, value));
    return element("select", { name, required }, ...(required ? [] : [new Option("", "")]), ...options);
  }
  const number = ["number", "integer"].includes(schema.type);
  const input = element("input", { name, required, type: number ? "number" : "text", autocomplete: "off" });
  if (number) input.step = schema.type === "integer" ? 1 : "any";
  if (schema.minimum !== undefined) input.min = schema.minimum;
  if (schema.maximum !== undefined) input.max = schema.maximum;
  if (schema.default !== undefined) input.placeholder = schema.default;
  return input;
}

function row(label, input, text = "") {
  const name = element("span", { textContent: label });
  const note = element("span", { className: "foot", textContent: text });
  return element("label", { className: "parameter" }, name, input, note);
}

/** The least that a JSON body must say. */
function skeleton({ example, required = [], properties = {} }) {
  const least = ({ const: only, enum: some, type }) => only ?? some?.[0] ?? (["number", "integer"].includes(type) ? 0 : "");
  return example ?? Object.fromEntries(required.map((name) => [name, least(properties[name])]));
}

function bodyRow(content) {
  const form = content["multipart/form-data"]?.schema;
  if (form) {
    const multiple = form.properties.file.type === "array";
    const input = element("input", { type: "file", name: "file", required: true, multiple });
    return row(multiple ? "recordings" : "recording", input, "Sound or video of any kind.");
  }
  const text = JSON.stringify(skeleton(content["application/json"].schema), null, 2);
  return row("JSON body", element("textarea", { name: "json", value: text, spellcheck: false }));
}

// ---- What is sent

/** [address, options, words of the same for curl] of a route as its form is filled in. */
function request({ path, method, operation }, form) {
  const values = new FormData(form);
  let filled = path;
  const query = new URLSearchParams();
  for (const { name, in: place } of operation.parameters ?? []) {
    const value = values.get(name) ?? "";
    if (place === "path") filled = filled.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query" && value !== "") query.set(name, value);
  }
  const address = new URL(filled.slice(1) + (query.size ? `?${query}` : ""), document.baseURI);
  const headers = values.get("accept") ? { Accept: values.get("accept") } : {};
  const options = { method, headers };
  const words = ["curl", "-X", method];
  for (const [name, value] of Object.entries(headers)) words.push("-H", `'${name}: ${value}'`);
  if (currentToken()) words.push("-H", "\"Authorization: Bearer $SPEECH2FACE_TOKEN\"");
  const files = values.getAll("file");
  if (files.length) {
    options.body = new FormData();
    for (const file of files) options.body.append("file", file);
    for (const file of files) words.push("-F", `'file=@${(file.name || "RECORDING").replaceAll("'", "'\\''")}'`);
  } else if (values.get("json")) {
    options.body = values.get("json");
    headers["Content-Type"] = "application/json";
    words.push("--json", `'${values.get("json").replace(/\s+/g, " ").replaceAll("'", "'\\''")}'`);
  }
  return [address, options, [...words, `'${address}'`].join(" ")];
}

const plain = (text) => text.replaceAll("`", "");

const shortened = (key, value) =>
  typeof value === "string" && value.length > LONG ? `${value.slice(0, LONG / 4)} ... (${value.length} letters)` : value;

async function shown(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("image/")) {
    const source = URL.createObjectURL(await response.blob());
    return element("img", { src: source, alt: "The portrait that was answered: a synthetic face" });
  }
  const text = await response.text();
  return element("pre", { textContent: /json/.test(type) ? JSON.stringify(JSON.parse(text, shortened), null, 2) : text, tabIndex: 0 });
}

// ---- The list

function routeOf(route) {
  const { path, method, operation } = route;
  const parameters = (operation.parameters ?? []).filter(({ in: place }) => place === "path" || place === "query");
  const form = element("form", {}, element("p", { textContent: plain(operation.description ?? "") }));
  if (operation.requestBody) form.append(bodyRow(operation.requestBody.content));
  for (const parameter of parameters) form.append(row(parameter.name, control(parameter), parameter.description));
  const kinds = Object.keys(operation.responses[200]?.content ?? {}).sort().reverse(); // pictures before JSON
  if (kinds.length > 1) form.append(row("Accept", control({ name: "accept", schema: { enum: kinds }, required: true })));
  const curl = element("pre", { tabIndex: 0 });
  curl.setAttribute("aria-label", "The same request with curl");
  const outcome = element("div", { className: "outcome" });
  outcome.setAttribute("role", "status");
  form.append(
    element("p", { className: "actions" }, element("button", { type: "submit", textContent: "Send" })),
    curl,
    outcome,
    element("h3", { textContent: "Answers" }),
    element("ul", { className: "answers" }, ...Object.entries(operation.responses).map(([status, { description }]) =>
      element("li", {}, element("span", { textContent: status }), element("span", { textContent: plain(description) })))),
  );
  const say = () => (curl.textContent = request(route, form)[2]);
  form.addEventListener("input", say);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    outcome.replaceChildren(element("p", { textContent: "Waiting for the answer" }));
    const [address, options] = request(route, form);
    try {
      const response = await send(address, options);
      outcome.replaceChildren(element("p", { textContent: `${response.status} ${response.statusText}` }), await shown(response));
    } catch {
      outcome.replaceChildren(element("p", { textContent: "The service does not answer." }));
    }
  });
  say();
  const summary = element("summary", {},
    element("span", { className: "method", textContent: method }),
    element("span", { className: "path", textContent: path }),
    element("span", { className: "what", textContent: operation.summary ?? "" }));
  const details = element("details", { className: "route" }, summary, form);
  details.dataset.route = `${method} ${path}`;
  return details;
}

async function list() {
  const response = await send("openapi.json").catch(() => null);
  if (!response?.ok) {
    state("refused", response ? "The token is missing" : "The service does not answer");
    return;
  }
  const { info, paths } = await response.json();
  at("about").textContent = plain(info.description);
  const groups = new Map();
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "more";
      if (!groups.has(tag)) groups.set(tag, [element("h2", { textContent: tag })]);
      groups.get(tag).push(routeOf({ path, method: method.toUpperCase(), operation }));
    }
  }
  at("routes").replaceChildren(...[...groups.values()].flat());
  state("ready", `Version ${info.version}`);
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(at("token").value);
  at("token").value = "";
  at("token-form").hidden = true;
  list();
});
list();
