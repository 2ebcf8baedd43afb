// What every step of the consent studio uses: the service, the steps, and what is said.

import { CODES, MicrophoneRefused } from "./microphone.js";
import { Refused as RefusedSound } from "./service.js";
import { OVER, WRONG } from "./studio_texts.js";

export const at = (id) => document.getElementById(id);
export const state = { form: null, session: null };

const closers = [];

/** Have this done whenever a session is over. */
export function whenOver(close) {
  closers.push(close);
}

export function closeAll() {
  for (const close of closers) close();
}

// ---- The service

class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

export async function ask(path, { method = "GET", json, body, keepalive = false } = {}) {
  const headers = { ...(state.session ? { "Studio-Session": state.session } : {}) };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  else if (body !== undefined) headers["Content-Type"] = body.type || "application/octet-stream";
  const sent = json === undefined ? body : JSON.stringify(json);
  const response = await fetch(path, { method, headers, body: sent, keepalive, cache: "no-store" }).catch(() => {
    throw new Refused("unreachable", "");
  });
  if (response.ok) {
    return response.json().catch(() => {
      throw new Refused("unreachable", ""); // it went in the middle of an answer
    });
  }
  const problem = await response.json().catch(() => ({}));
  throw new Refused(problem.code ?? "other", problem.detail ?? response.statusText);
}

// ---- Steps and messages

export function show(name) {
  document.body.dataset.step = name;
  hush();
  const order = [...at("steps").children].map((item) => item.dataset.for);
  for (const item of at("steps").children) {
    item.toggleAttribute("data-past", order.indexOf(item.dataset.for) < order.indexOf(name));
    if (item.dataset.for === name) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.dataset.step !== name;
  at("leave-row").hidden = !["sign", "voice", "photographs", "about"].includes(name);
  scrollTo(0, 0);
  document.querySelector(`section[data-step=${name}] h2`)?.focus({ preventScroll: true });
}

export function complain([title, text], more = "") {
  at("message-title").textContent = title;
  at("message-text").textContent = text || sentence(more);
  at("message").hidden = false;
  at("message").scrollIntoView({ block: "nearest" });
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.]?$/, ".") : "");

function hush() {
  at("message").hidden = true;
}

export function over([title, text]) {
  closeAll();
  state.session = null;
  at("over-title").textContent = title;
  at("over-text").textContent = text;
  for (const id of ["code", "stored"]) at(id).replaceChildren();
  at("name").value = "";
  show("over");
}

/** Do it; what is refused is said. */
export async function trying(action) {
  hush();
  try {
    return await action();
  } catch (error) {
    if (error instanceof MicrophoneRefused) complain(WRONG[error.code] ?? WRONG.unsupported);
    else if (!(error instanceof Refused || error instanceof RefusedSound) && CODES[error.name] === undefined) throw error;
    else if (error.code === "session_gone") over(OVER.gone);
    else complain(WRONG[error.code] ?? WRONG[CODES[error.name]] ?? WRONG.other, error.message);
    return null;
  }
}

export function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function advise(id, kind, text) {
  const place = at(id);
  if (place.textContent !== text) place.textContent = text; // a screen reader is told what has changed, and no more
  place.dataset.kind = kind;
}
