// The consent studio: one step after another; everything goes to the machine it came from, and stays in memory till the end.

import { MicrophoneRefused, openMicrophone } from "/page/microphone.js";
import { LANGUAGES, OVER, PHOTOGRAPH, SAYS, STORED, SURE, VOICE, WRONG } from "/page/studio_texts.js";
import { day, fileName, moment, photographs, said, size } from "/page/studio_texts.js";

const at = (id) => document.getElementById(id);
const SEND_MS = 500; // between two pieces of sound
const LOOK_MS = 400; // between two looks through the camera
const LOOK_PIXELS = 640; // longest side of what is looked at
const CLEAR_MS = 10 * 60 * 1000; // after which the code is not left on the screen
const CODES = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing", OverconstrainedError: "missing", NotReadableError: "busy", AbortError: "busy" };

let form = null;
let session = null;
let step = "loading";
let microphone = null;
let camera = null;

// ---- The service

class Refused extends Error {
  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

async function ask(path, { method = "GET", json, body, keepalive = false } = {}) {
  const headers = { ...(session ? { "Studio-Session": session } : {}) };
  if (json !== undefined) headers["Content-Type"] = "application/json";
  else if (body !== undefined) headers["Content-Type"] = body.type || "application/octet-stream";
  const sent = json === undefined ? body : JSON.stringify(json);
  const response = await fetch(path, { method, headers, body: sent, keepalive, cache: "no-store" }).catch(() => {
    throw new Refused("unreachable", "");
  });
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  throw new Refused(problem.code ?? "other", problem.detail ?? response.statusText);
}

// ---- Steps and messages

function show(name) {
  step = document.body.dataset.step = name;
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

function complain([title, text], more = "") {
  at("message-title").textContent = title;
  at("message-text").textContent = text || sentence(more);
  at("message").hidden = false;
  at("message").scrollIntoView({ block: "nearest" });
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.]?$/, ".") : "");

function hush() {
  at("message").hidden = true;
}

function over([title, text]) {
  closeAll();
  session = null;
  at("over-title").textContent = title;
  at("over-text").textContent = text;
  for (const id of ["code", "stored"]) at(id).replaceChildren();
  at("name").value = "";
  show("over");
}

/** Do it; what is refused is said. */
async function trying(action) {
  hush();
  try {
    return await action();
  } catch (error) {
    if (error instanceof MicrophoneRefused) complain(WRONG[error.code] ?? WRONG.unsupported);
    else if (!(error instanceof Refused) && CODES[error.name] === undefined) throw error;
    else if (error.code === "session_gone") over(OVER.gone);
    else complain(WRONG[error.code] ?? WRONG[CODES[error.name]] ?? WRONG.other, error.message);
    return null;
  }
}

function element(name, text, attributes = {}) {
  const made = Object.assign(document.createElement(name), attributes);
  if (text !== undefined) made.textContent = text;
  return made;
}

function advise(id, kind, text) {
  const place = at(id);
  if (place.textContent !== text) place.textContent = text; // a screen reader is told what has changed, and no more
  place.dataset.kind = kind;
}

// ---- Read and sign

function showForm() {
  at("organisation").textContent = form.organisation;
  for (const id of ["contact", "done-contact"]) at(id).textContent = form.contact.replace(/[.]?$/, ".");
  for (const [heading, paragraphs] of form.sections) {
    at("form").append(element("h3", heading), ...paragraphs.map((text) => element("p", text)));
  }
  at("form").append(element("p", `Version ${form.version} of this text, SHA-256 ${form.sha256}`, { className: "version" }));
  form.statements.forEach((text) => {
    const label = element("label");
    label.append(element("input", undefined, { type: "checkbox", required: true }), element("span", text));
    at("statements").append(label);
  });
  for (const language of Object.keys(form.sentences)) {
    at("language").append(element("option", LANGUAGES[language] ?? language, { value: language }));
  }
  at("language-field").hidden = Object.keys(form.sentences).length === 1;
  at("speech-wanted").textContent = at("speech-bar").max = form.speech_seconds;
  at("photographs-wanted").textContent = photographs(form.photographs);
}

async function sign() {
  const ticked = [...at("statements").querySelectorAll("label")].filter((label) => label.querySelector("input").checked);
  const json = {
    name: at("name").value,
    form_sha256: form.sha256,
    statements: ticked.map((label) => label.textContent),
    language: at("language").value,
  };
  session = (await ask("/studio/sign", { method: "POST", json })).session;
  at("sentences").lang = at("language").value;
  at("sentences").replaceChildren(...form.sentences[at("language").value].map((text) => element("li", text)));
  resetVoice();
  show("voice");
}

async function withdraw() {
  const { files } = await ask("/studio/withdraw", { method: "POST", json: { code: at("code-in").value } });
  at("code-in").value = "";
  if (files) over(OVER.erased);
}

// ---- Voice

let sound = { pieces: [], part: 0, sending: null, enough: false };

function resetVoice() {
  sound = { pieces: [], part: 0, sending: null, enough: false };
  heard({ speech_seconds: 0, enough: false, advice: [], findings: [] }, "");
  at("voice-again").disabled = true;
}

function heard({ speech_seconds: seconds, enough, advice, findings }, text = null) {
  sound.enough = enough;
  at("speech").textContent = Math.floor(seconds);
  at("speech-bar").value = seconds;
  at("to-photographs").disabled = !enough;
  if (text !== null) advise("voice-advice", "", text);
  else if (enough) advise("voice-advice", findings.length ? "bad" : "good", findings.length ? enoughBut(findings[0]) : SAYS.enough);
  else if (findings.includes("not_a_voice")) advise("voice-advice", "bad", VOICE.not_a_voice);
  else if (advice.length) advise("voice-advice", "bad", VOICE[advice[0]]);
  else advise("voice-advice", "good", seconds > 1 ? SAYS.fine : SAYS.listening);
}

const enoughBut = (code) => (code === "child_voice" ? VOICE[code] : `${SAYS.enoughBut} ${VOICE[code]}`);

async function startVoice() {
  microphone = await openMicrophone(
    (buffer, peak) => {
      sound.pieces.push(buffer);
      at("level").style.setProperty("--level", Math.sqrt(peak).toFixed(3));
      at("level").parentElement.dataset.high = peak > 0.98;
    },
    () => {
      stopVoice();
      complain(WRONG.gone);
    },
  );
  recording(true);
  advise("voice-advice", "good", SAYS.listening);
  const rate = microphone.sampleRate;
  sound.sending = sendVoice(rate, microphone);
}

function recording(on) {
  at("record").dataset.on = on;
  at("record-text").textContent = on ? "Pause" : sound.part ? "Go on recording" : "Start recording";
  at("voice-again").disabled = on || !sound.part;
  at("record").hidden = sound.enough && !on; // then there is one thing to do: go on
  if (!on) at("level").style.setProperty("--level", 0);
}

/** Send what was heard, a piece at a time, until the microphone is closed. */
async function sendVoice(rate, open) {
  while (microphone === open || sound.pieces.length) {
    await new Promise((resolve) => setTimeout(resolve, microphone === open ? SEND_MS : 0));
    if (!sound.pieces.length) continue;
    const body = new Blob(sound.pieces, { type: "application/octet-stream" });
    sound.pieces = [];
    const answer = await trying(() => ask(`/studio/voice?rate=${rate}&part=${sound.part}`, { method: "POST", body }));
    if (answer === null) {
      await stopVoice();
      return;
    }
    sound.part += 1;
    heard(answer);
    if (answer.enough && microphone === open) stopVoice();
  }
  recording(false);
  if (!sound.enough && step === "voice") advise("voice-advice", "", SAYS.paused);
}

async function stopVoice() {
  const open = microphone;
  microphone = null;
  await open?.close();
  recording(false);
}

async function restartVoice() {
  await stopVoice();
  await sound.sending;
  await ask("/studio/voice", { method: "DELETE" });
  resetVoice();
  recording(false);
}

// ---- Photographs

let taken = [];
let again = null; // the place of a photograph that is to be taken once more

const nextPlace = () => again ?? taken.findIndex((each) => !each) + 1;

function resetPhotographs() {
  for (const each of taken) if (each) URL.revokeObjectURL(each.url);
  taken = Array.from({ length: form.photographs }, () => null);
  again = null;
  showTaken();
}

function showTaken() {
  at("taken").replaceChildren(
    ...taken.map((each, index) => {
      const item = element("li");
      if (!each) {
        item.append(element("span", String(index + 1), { className: "empty" }));
        return item;
      }
      const button = element("button", "Take again", { type: "button", className: "quiet" });
      button.setAttribute("aria-label", `Take photograph ${index + 1} again`);
      button.addEventListener("click", () => {
        again = index + 1;
        showTaken();
        at("take").focus();
      });
      button.setAttribute("aria-pressed", String(again === index + 1));
      item.append(element("img", undefined, { src: each.url, alt: `Photograph ${index + 1}` }), button);
      for (const code of each.advice) item.append(element("p", PHOTOGRAPH[code]));
      return item;
    }),
  );
  const place = nextPlace();
  at("to-about").disabled = taken.some((each) => !each);
  at("take").disabled = !camera || place === 0;
  at("take-text").textContent = place === 0 ? SAYS.allTaken : `Take photograph ${place}${again ? " again" : ""}`;
}

async function openCamera() {
  if (!navigator.mediaDevices) throw new MicrophoneRefused("insecure");
  const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
  const stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  camera = stream;
  at("video").srcObject = stream;
  await at("video").play();
  stream.getVideoTracks()[0].addEventListener("ended", closeCamera);
  at("camera").dataset.state = "on";
  showTaken();
  advise("photograph-advice", "", form.checked ? SAYS.looking : SAYS.unchecked);
  if (form.checked) looking(stream);
}

function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = null;
  at("video").srcObject = null;
  at("camera").dataset.state = "off";
  at("take").disabled = true;
}

async function snapshot(type, quality, longest = Infinity) {
  const video = at("video");
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  const canvas = element("canvas", undefined, { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}

/** Say what the service sees, as long as the camera is open; a snapshot is forgotten at once. */
async function looking(stream) {
  while (camera === stream) {
    if (nextPlace() > 0 && !document.hidden && at("video").videoWidth) {
      const body = await snapshot("image/jpeg", 0.85, LOOK_PIXELS);
      const seen = await ask("/studio/look", { method: "POST", body }).catch((error) => error);
      if (camera !== stream) return;
      if (seen instanceof Error) {
        if (seen.code === "session_gone") over(OVER.gone);
        if (seen.code === "unreachable") complain(WRONG.unreachable);
      } else if (!at("take").dataset.busy) showSeen(seen);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function showSeen({ refused, advice }) {
  const code = refused[0] ?? advice[0];
  at("camera").dataset.state = code ? "bad" : "good";
  advise("photograph-advice", code ? "bad" : "good", code ? PHOTOGRAPH[code] : SAYS.ready);
}

async function take() {
  const place = nextPlace();
  at("take").disabled = at("take").dataset.busy = true;
  try {
    const body = await snapshot("image/png");
    const seen = await ask(`/studio/photographs/${place}`, { method: "POST", body });
    if (seen.refused.length) {
      showSeen(seen);
      return;
    }
    if (taken[place - 1]) URL.revokeObjectURL(taken[place - 1].url);
    taken[place - 1] = { url: URL.createObjectURL(body), advice: seen.advice };
    again = null;
    if (taken.every(Boolean)) advise("photograph-advice", "good", SAYS.allTaken);
  } finally {
    delete at("take").dataset.busy;
    showTaken();
    if (nextPlace() === 0) at("to-about").focus();
  }
}

// ---- The end

async function store() {
  at("store").disabled = true;
  try {
    const json = { age: at("age").value, gender: at("gender").value };
    const { code, record, files } = await ask("/studio/finish", { method: "POST", json });
    at("code").textContent = code;
    const rows = [
      [STORED.signed, moment(record.signed_at)],
      [STORED.until, day(record.until)],
      [STORED.name, record.name],
      [STORED.said, said(record)],
      [STORED.person, record.person],
      ...files.map((file) => [fileName(file.name), size(file.bytes)]),
      [STORED.form, `version ${record.form_version}, SHA-256 ${record.form_sha256}`],
    ];
    for (const [name, value] of rows) {
      const row = element("tr");
      row.append(element("th", name, { scope: "row" }), element("td", value));
      at("stored").append(row);
    }
    show("done");
    setTimeout(() => step === "done" && beginAnew(), CLEAR_MS);
  } finally {
    at("store").disabled = false;
  }
}

function closeAll() {
  stopVoice();
  closeCamera();
  for (const each of taken) if (each) URL.revokeObjectURL(each.url);
  taken = [];
}

async function leave() {
  closeAll();
  if (session) await ask("/studio/session", { method: "DELETE" });
  over(OVER.left);
}

/** The next person finds a page without anything of this one. */
async function beginAnew() {
  if (session) await ask("/studio/session", { method: "DELETE" }).catch(() => {});
  session = null;
  location.replace("/");
}

// ---- What is pressed

function pressed(id, action) {
  at(id).addEventListener("click", () => trying(action));
}

/** What cannot be undone is asked for twice. */
function pressedTwice(id, action) {
  const button = at(id);
  const words = button.textContent;
  const calm = () => {
    delete button.dataset.asked;
    button.textContent = words;
  };
  button.addEventListener("blur", calm);
  pressed(id, () => {
    if (button.dataset.asked) {
      calm();
      return action();
    }
    button.dataset.asked = "true";
    button.textContent = SURE[id];
    return undefined;
  });
}

function submitted(id, action) {
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    trying(action);
  });
}

pressed("to-sign", () => show("sign"));
submitted("sign", sign);
submitted("withdraw", withdraw);
pressed("record", () => (microphone ? stopVoice() : startVoice()));
pressed("voice-again", restartVoice);
pressed("to-photographs", async () => {
  await stopVoice();
  resetPhotographs();
  show("photographs");
});
pressed("open-camera", openCamera);
pressed("take", take);
pressed("to-about", () => {
  closeCamera();
  show("about");
});
submitted("about", store);
pressed("print", () => print());
pressed("end", beginAnew);
pressed("anew", beginAnew);
pressedTwice("erase", async () => {
  await ask("/studio/erase", { method: "POST" });
  over(OVER.erased);
});
pressedTwice("leave", leave);
document.querySelector("[data-back=read]").addEventListener("click", () => show("read"));

addEventListener("pagehide", () => {
  if (session) ask("/studio/session", { method: "DELETE", keepalive: true }).catch(() => {});
});

form = await trying(() => ask("/studio/form"));
if (form) {
  showForm();
  show("read");
}
