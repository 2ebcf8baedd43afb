// The service that served this page: its models, portraits of files, and what it refuses.

const NOT_THERE = [0, 502, 504]; // the last two are said by a proxy before the service

let token = takeTokenOfAddress();

/** What the service refused: HTTP status or WebSocket close code, a stable code, and its own sentence. */
export class Refused extends Error {
  constructor(status, code, text, retryAfter = null) {
    super(text);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** A token may come as `#token=...`; it leaves the address at once, so that it is not shared with it. */
function takeTokenOfAddress() {
  const hash = new URLSearchParams(location.hash.slice(1));
  const found = hash.get("token");
  hash.delete("token");
  if (found) history.replaceState(null, "", `${location.pathname}${location.search}#${hash}`.replace(/#$/, ""));
  return found;
}

export const currentToken = () => token;

export function useToken(text) {
  token = text;
}

export async function ask(path, { accept = "application/json", ...options } = {}) {
  const headers = { Accept: accept, ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const lost = (error) => {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "The service does not answer.");
  };
  const response = await fetch(path, { ...options, headers, cache: "no-store" }).catch(lost);
  if (response.ok) return response.json().catch(lost); // the network may also go in the middle of an answer
  const problem = await response.json().catch(() => ({}));
  const text = problem.detail ?? problem.title ?? response.statusText;
  throw new Refused(response.status, problem.code ?? "", text, Number(response.headers.get("Retry-After")) || null);
}

/** Whether a refusal says that the service itself is not there. */
export const isAway = ({ status }) => NOT_THERE.includes(status);

/** Wait until the models are loaded; `onWaiting(text)` is told what it is waiting for. */
export async function readyModels(onWaiting) {
  for (;;) {
    try {
      const { models } = await ask("v1/models");
      if (models.length) return models;
      onWaiting("Loading the model");
    } catch (error) {
      if (error.status !== 503 && !isAway(error)) throw error;
      onWaiting(isAway(error) ? "The service does not answer" : "Loading the model");
    }
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** The portrait of a file, {picture Blob (a labelled PNG), drawing Blob (SVG), samples [Blob], facts}; query as in the API. */
export async function portraitOf(file, query, signal) {
  const body = new FormData();
  body.append("file", file, file.name || "recording");
  const stated = Object.entries(query).filter(([, value]) => value !== undefined);
  const answer = await ask(`v1/portrait?${new URLSearchParams(stated)}`, { method: "POST", body, signal });
  return {
    picture: blobOf(answer.picture),
    drawing: answer.drawing && blobOf(answer.drawing),
    samples: (answer.samples ?? []).map(blobOf),
    facts: answer.facts,
  };
}

/** The conversation in a file, {facts, portraits [{facts, picture, drawing}]}; query as in the API. */
export async function conversationOf(file, query, signal) {
  const body = new FormData();
  body.append("file", file, file.name || "recording");
  const stated = Object.entries({ ...query, speakers: "auto" }).filter(([, value]) => value !== undefined);
  const { results } = await ask(`v1/portraits?${new URLSearchParams(stated)}`, { method: "POST", body, signal });
  const [{ conversation, problem }] = results;
  if (problem) throw new Refused(problem.status, problem.code, problem.detail);
  const portraits = conversation.portraits.map(({ facts, picture, drawing }) => ({
    facts,
    picture: blobOf(picture),
    drawing: drawing && blobOf(drawing),
  }));
  return { facts: conversation.facts, portraits };
}

function blobOf({ media_type, base64 }) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Blob([bytes], { type: media_type });
}
