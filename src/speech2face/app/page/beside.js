// Two voices beside each other: a recording each, their two faces, and what moved between them.

import { MicrophoneRefused } from "./microphone.js";
import { inRows, inSentences } from "./moved.js";
import { startRecording } from "./recorder.js";
import { portraitOf, Refused } from "./service.js";
import { lacking, Stage } from "./stage.js";
import { ofMicrophone, ofRefusal } from "./texts.js";

const at = (id) => document.getElementById(id);

/** One of the two: where its recording comes from, its face, and what is wrong with it. */
class Slot {
  constructor(beside, name) {
    this.beside = beside;
    this.name = name;
    this.element = at(`${name}-voice`);
    this.part = (kind) => this.element.querySelector(`.${kind}`);
    this.stage = new Stage(this.part("stage"));
    this.file = null;
    this.answer = null;
    this.recording = null;
    this.turn = 0; // counts up when a recording that is being begun is no longer wanted
    this.part("record").addEventListener("click", () => (this.recording ? this.stop() : this.record()));
    this.part("choose").addEventListener("click", () => this.part("file").click());
    this.part("file").addEventListener("change", ({ target }) => {
      if (target.files[0]) this.take(target.files[0]);
      target.value = "";
    });
  }

  say(text) {
    this.part("source").textContent = text;
  }

  complain([title, text] = ["", ""]) {
    this.part("problem").textContent = title && `${title}. ${text}`;
    this.part("problem").hidden = !title;
  }

  async take(file) {
    await this.cancel();
    this.file = file;
    this.answer = null;
    this.stage.clear();
    this.beside.show();
    await this.ask();
  }

  /** Ask for the portrait of what there is; an older question is no longer waited for. */
  async ask() {
    this.waiting?.abort();
    const waiting = new AbortController();
    this.waiting = waiting;
    const { file } = this;
    this.complain();
    this.say(`Listening to ${file.name}`);
    try {
      this.answer = await portraitOf(file, this.beside.wish(), waiting.signal);
      this.say(file.name);
      const { facts, picture } = this.answer;
      this.stage.show(picture);
      this.stage.focus(facts.seconds_heard);
      this.stage.describe(`Portrait of the ${this.name} voice. ${facts.notice}`);
      this.listCautions(facts.cautions);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!(error instanceof Refused)) throw error;
      this.say("No portrait");
      if (error.status === 401) this.beside.page.explain(error);
      else this.complain(ofRefusal(error));
    }
    this.beside.show();
  }

  listCautions(cautions) {
    this.part("cautions").replaceChildren(
      ...cautions.map(({ text }) => Object.assign(document.createElement("li"), { textContent: text })),
    );
  }

  async record() {
    if (this.opening) return;
    this.opening = true;
    this.complain();
    try {
      await this.beside.quiet();
      const { turn } = this;
      const recording = await startRecording({
        onSeconds: (seconds) => this.say(`Recording: ${seconds.toFixed(1)} s`),
        onEnd: () => this.stop(),
      });
      if (turn !== this.turn) {
        await recording.stop();
        return;
      }
      this.recording = recording;
      this.part("record").textContent = "Stop";
      this.part("record").dataset.on = true;
      this.beside.page.announcer.say("Recording.");
    } catch (error) {
      if (error instanceof Refused) this.complain(ofRefusal(error));
      else if (error instanceof MicrophoneRefused) this.complain(ofMicrophone(error.code));
      else throw error;
    } finally {
      this.opening = false;
    }
  }

  /** Close the microphone without looking at what it heard. */
  async cancel() {
    const { recording } = this;
    this.recording = null;
    this.turn += 1;
    this.part("record").textContent = "Record";
    this.part("record").dataset.on = false;
    return recording?.stop();
  }

  async stop() {
    const file = await this.cancel();
    if (file) await this.take(file);
  }

  clear() {
    this.cancel();
    this.waiting?.abort();
    this.file = null;
    this.answer = null;
    this.stage.clear();
    this.complain();
    this.listCautions([]);
    this.say("No voice yet");
  }
}

export class Beside {
  constructor(page) {
    this.page = page;
    this.slots = ["first", "second"].map((name) => new Slot(this, name));
    this.asked = this.said = "";
    at("wipe").addEventListener("input", () => this.wipe());
    at("forget").addEventListener("click", () => {
      this.clear();
      at("first-voice").querySelector(".record").focus(); // the button itself is disabled now
    });
  }

  /** As heard: only how the faces are shown is taken from the page. */
  wish() {
    const { exaggerate, style, model } = this.page.controls;
    return { exaggerate, style, model: model?.name };
  }

  /** Something was changed in how faces are shown. */
  change() {
    const wish = JSON.stringify(this.wish());
    if (wish === this.asked) return;
    for (const slot of this.slots) if (slot.file) slot.ask();
    this.asked = wish;
  }

  get recording() {
    return this.slots.some(({ recording }) => recording);
  }

  /** Nobody else has the microphone. */
  async quiet() {
    for (const slot of this.slots) await slot.stop();
    if (this.page.live.listening) await this.page.live.pause();
  }

  takeBoth(files) {
    this.slots.forEach((slot, index) => slot.take(files[index]));
    at("beside").scrollIntoView({ block: "nearest" });
  }

  /** The slot that something was dropped on, if any. */
  slotAt(element) {
    return this.slots.find((slot) => slot.element.contains(element));
  }

  /** What there is of both. */
  show() {
    const answers = this.slots.map(({ answer }) => answer);
    at("forget").disabled = this.slots.every(({ file }) => !file);
    at("moved").hidden = !answers.every(Boolean);
    if (!answers.every(Boolean)) return;
    this.asked = JSON.stringify(this.wish());
    const [first, second] = answers.map(({ facts }) => facts);
    const [moved, sure] = inSentences(first, second);
    const text = `${moved} ${sure}`;
    at("moved-text").textContent = moved;
    at("moved-sure").textContent = sure;
    at("moved-rows").replaceChildren(...inRows(first, second).map(rowOf));
    this.hang(answers);
    if (text !== this.said) this.page.announcer.say(text);
    this.said = text;
  }

  hang(answers) {
    const faces = answers.map(({ picture, facts }) => {
      const image = Object.assign(new Image(), { alt: "", draggable: false, src: URL.createObjectURL(picture) });
      image.addEventListener("load", () => URL.revokeObjectURL(image.src));
      image.style.setProperty("--lacking", lacking(facts.seconds_heard));
      return image;
    });
    at("wiped").replaceChildren(...faces);
    this.wipe();
  }

  /** How much of the second face lies over the first, from the right. */
  wipe() {
    const share = Number(at("wipe").value);
    at("wiped").style.setProperty("--cut", `${100 - share}%`);
    at("wipe").setAttribute("aria-valuetext", `${share} percent of the second face`);
  }

  clear() {
    for (const slot of this.slots) slot.clear();
    at("wiped").replaceChildren();
    at("wipe").value = 50;
    this.said = "";
    this.show();
  }
}

function rowOf([what, ...values]) {
  const row = document.createElement("tr");
  row.append(
    Object.assign(document.createElement("th"), { scope: "row", textContent: what }),
    ...values.map((value) => Object.assign(document.createElement("td"), { textContent: value })),
  );
  return row;
}
