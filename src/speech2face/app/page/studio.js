// The consent studio: one step after another; everything goes to the machine it came from, and stays in memory till the end.

import { ask, at, closeAll, element, over, show, state, trying } from "./studio_page.js";
import { closeCamera, openCamera, resetPhotographs, take } from "./studio_photographs.js";
import { LANGUAGES, OVER, STORED, SURE, day, fileName, moment, photographs, said, size } from "./studio_texts.js";
import { recordOrPause, resetVoice, restartVoice, stopVoice } from "./studio_voice.js";

const CLEAR_MS = 10 * 60 * 1000; // after which the code is not left on the screen

// ---- Read and sign

function showForm() {
  at("organisation").textContent = state.form.organisation;
  for (const id of ["contact", "done-contact"]) at(id).textContent = state.form.contact.replace(/[.]?$/, ".");
  for (const [heading, paragraphs] of state.form.sections) {
    at("form").append(element("h3", heading), ...paragraphs.map((text) => element("p", text)));
  }
  at("form").append(element("p", `Version ${state.form.version} of this text, SHA-256 ${state.form.sha256}`, { className: "version" }));
  state.form.statements.forEach((text) => {
    const label = element("label");
    label.append(element("input", undefined, { type: "checkbox", required: true }), element("span", text));
    at("statements").append(label);
  });
  for (const language of Object.keys(state.form.sentences)) {
    at("language").append(element("option", LANGUAGES[language] ?? language, { value: language }));
  }
  at("language-field").hidden = Object.keys(state.form.sentences).length === 1;
  at("speech-wanted").textContent = at("speech-bar").max = state.form.speech_seconds;
  at("photographs-wanted").textContent = photographs(state.form.photographs);
}

async function sign() {
  const ticked = [...at("statements").querySelectorAll("label")].filter((label) => label.querySelector("input").checked);
  const json = {
    name: at("name").value,
    form_sha256: state.form.sha256,
    statements: ticked.map((label) => label.textContent),
    language: at("language").value,
  };
  state.session = (await ask("studio/sign", { method: "POST", json })).session;
  at("sentences").lang = at("language").value;
  at("sentences").replaceChildren(...state.form.sentences[at("language").value].map((text) => element("li", text)));
  resetVoice();
  show("voice");
}

async function withdraw() {
  const { files } = await ask("studio/withdraw", { method: "POST", json: { code: at("code-in").value } });
  at("code-in").value = "";
  if (files) over(OVER.erased);
}

// ---- The end

async function store() {
  at("store").disabled = true;
  try {
    const json = { age: at("age").value, gender: at("gender").value };
    const { code, record, files } = await ask("studio/finish", { method: "POST", json });
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
    setTimeout(() => document.body.dataset.step === "done" && beginAnew(), CLEAR_MS);
  } finally {
    at("store").disabled = false;
  }
}

async function leave() {
  closeAll();
  if (state.session) await ask("studio/session", { method: "DELETE" });
  over(OVER.left);
}

/** The next person finds a page without anything of this one. */
async function beginAnew() {
  if (state.session) await ask("studio/session", { method: "DELETE" }).catch(() => {});
  state.session = null;
  location.replace(location.pathname);
}

// ---- What is pressed

/** Do it, unless it is being done: who presses twice is impatient, and wants it once. */
function once(action) {
  let doing = false;
  return async () => {
    if (doing) return;
    doing = true;
    await trying(action).finally(() => (doing = false));
  };
}

function pressed(id, action) {
  at(id).addEventListener("click", once(action));
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
  const send = once(action);
  at(id).addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
}

pressed("to-sign", () => show("sign"));
submitted("sign", sign);
submitted("withdraw", withdraw);
pressed("record", recordOrPause);
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
  await ask("studio/erase", { method: "POST" });
  over(OVER.erased);
});
pressedTwice("leave", leave);
document.querySelector("[data-back=read]").addEventListener("click", () => show("read"));

addEventListener("pagehide", () => {
  if (state.session) ask("studio/session", { method: "DELETE", keepalive: true }).catch(() => {});
});

state.form = await trying(() => ask("studio/form"));
if (state.form) {
  showForm();
  show("read");
}
