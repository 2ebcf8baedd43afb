// The page: a voice from the microphone or a file goes to the service, the portrait comes back and is shown.

import { Announcer } from "./announcer.js";
import { Beside } from "./beside.js";
import { Controls } from "./controls.js";
import { Faces, newSeed } from "./faces.js";
import { FileVoice } from "./file_voice.js";
import { LiveVoice } from "./live_voice.js";
import { Notices } from "./notices.js";
import { inWords, Readings } from "./readings.js";
import { isAway, readyModels } from "./service.js";
import { Stage } from "./stage.js";
import { Trace } from "./trace.js";
import { Voices } from "./voices.js";

const SUFFIXES = { "image/webp": "webp", "image/svg+xml": "svg" };

const at = (id) => document.getElementById(id);

/** What the parts of the page share: the widgets, and what is on show just now. */
class Page {
  constructor() {
    this.stage = new Stage(at("stage"));
    this.readings = new Readings({ onRestart: () => this.restart() });
    this.trace = new Trace(at("trace"));
    this.faces = new Faces(at("faces"));
    this.announcer = new Announcer(at("live"));
    this.notices = new Notices({ onToken: () => this.connect() });
    this.controls = new Controls({ onChange: () => this.changed(), onModel: () => this.changeModel() });
    this.voices = new Voices({ onChoose: (facts, picture) => this.choose(facts, picture) });
    this.live = new LiveVoice(this);
    this.file = new FileVoice(this);
    this.beside = new Beside(this);
    this.voice = null; // the one of the two on show
    this.listen();
  }

  listen() {
    at("speak").addEventListener("click", () => this.speak());
    at("choose").addEventListener("click", () => at("file").click());
    at("file").addEventListener("change", () => {
      this.take([...at("file").files]);
      at("file").value = "";
    });
    at("hold").addEventListener("click", () => this.voice?.hold(at("hold").getAttribute("aria-pressed") !== "true"));
    at("save").addEventListener("click", () => this.save(() => this.voice.labelled()));
    at("save-drawing").addEventListener("click", () => this.save(() => this.voice.labelledDrawing()));
    at("restart").addEventListener("click", () => this.restart());
    at("several").addEventListener("change", () => this.voice === this.file && this.voice.change());
    at("draw").addEventListener("click", () => this.voice?.draw(newSeed()));
    window.addEventListener("pagehide", () => {
      this.clear();
      this.beside.clear();
    });
    this.listenForDrops();
  }

  listenForDrops() {
    let depth = 0; // dragenter comes for every element on the way
    const over = (change) => {
      depth = Math.max(0, depth + change);
      document.body.dataset.drop = depth > 0;
    };
    const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
    window.addEventListener("dragenter", (event) => holdsFiles(event) && over(1));
    window.addEventListener("dragleave", (event) => holdsFiles(event) && over(-1));
    window.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      over(-depth);
      this.takeDropped([...event.dataTransfer.files], this.beside.slotAt(event.target));
    });
  }

  /** On one of the two voices beside each other it becomes that one; two at once become both. */
  takeDropped(files, slot) {
    if (files.length === 2) this.beside.takeBoth(files);
    else if (slot && files.length) slot.take(files[0]);
    else this.take(files);
  }

  /** One of several voices, large; what comes of a live one is shown as it comes. */
  choose(facts, picture) {
    if (this.voice === this.file) this.file.chosen(facts, picture);
    this.show(facts, picture);
  }

  changed() {
    this.voice?.change();
    this.beside.change();
  }

  /** Wait for the service, then offer what its models can do; also when it went away. */
  async connect() {
    if (this.connecting) return;
    this.connecting = true;
    try {
      const models = await readyModels((text) => this.serviceIs("starting", text));
      if (JSON.stringify(models) !== JSON.stringify(this.controls.models)) this.controls.show(models);
      this.nameModel();
    } catch (error) {
      this.serviceIs("refused", "Not connected");
      this.notices.explain(error);
    } finally {
      this.connecting = false;
    }
  }

  serviceIs(state, text) {
    at("service").dataset.state = state;
    at("service-text").textContent = text;
  }

  nameModel() {
    const { name, version, notice } = this.controls.model;
    this.serviceIs("ready", `Model ${name} ${version}`);
    if (!this.voice) at("notice").textContent = notice;
  }

  changeModel() {
    this.clear();
    this.nameModel();
    this.beside.change();
  }

  /** Say what was refused; where the service is gone, look out for it. */
  explain(error) {
    this.notices.explain(error);
    if (isAway(error) || [1001, 1006].includes(error.status)) this.connect();
  }

  async speak() {
    if (this.live.busy) return;
    if (this.live.listening) {
      await this.live.pause();
      return;
    }
    this.notices.hide();
    if (this.beside.recording) await this.beside.quiet();
    if (this.voice !== this.live || !this.live.resumable) this.clear();
    this.voice = this.live;
    await this.live.listen();
  }

  async take([file, ...others]) {
    if (!file) return;
    this.clear();
    this.voice = this.file;
    if (others.length) this.notices.show(["One recording at a time", `Only ${file.name} was taken.`]);
    await this.file.take(file);
  }

  /** Facts that came, and the picture where there is one. */
  show(facts, picture) {
    this.readings.show(facts);
    if (facts.notice) at("notice").textContent = facts.notice;
    if (!picture) return;
    this.hang(facts, picture);
    this.stageNote("");
    if (this.announcer.due(facts)) {
      const words = inWords(facts);
      this.stage.describe(`${facts.style === "photographic" ? "Portrait" : "Drawn portrait"}. ${facts.notice} ${words}`);
      this.announcer.say([words, ...facts.cautions.map(({ text }) => text)].join(" "));
    }
    this.allow(true);
  }

  /** The picture that is on show, and so the one that is saved. */
  hang(facts, picture) {
    this.stage.show(picture);
    this.stage.focus(facts.seconds_heard);
    at("save-drawing").hidden = facts.style === "photographic";
  }

  stageNote(text) {
    at("stage-note").textContent = text;
    at("stage-note").hidden = !text;
  }

  /** `state` is one of idle, listening, paused, working. */
  buttons(state) {
    const texts = { idle: "Speak", listening: "Stop", paused: "Go on speaking", working: "One moment" };
    at("speak-text").textContent = texts[state];
    at("speak").dataset.on = state === "listening";
    at("speak").setAttribute("aria-disabled", state === "working"); // disabled, it would lose the keyboard
  }

  held(on) {
    at("hold").setAttribute("aria-pressed", on);
  }

  /** Give what `asking` resolves to as a file. */
  async save(asking) {
    try {
      const picture = await asking();
      const link = document.createElement("a");
      link.href = URL.createObjectURL(picture);
      link.download = `synthetic-face.${SUFFIXES[picture.type] ?? "png"}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      this.announcer.say("Picture saved. It says in itself that it is synthetic.");
    } catch (error) {
      this.explain(error);
    }
  }

  allow(something) {
    for (const id of ["save", "restart"]) at(id).disabled = !something;
    at("draw").disabled = !something || (this.voice === this.file && this.voices.wanted); // a conversation's are not asked for
    at("hold").disabled = !something || !this.voice.canHold;
    if (!something) at("save-drawing").hidden = true;
  }

  /** Somebody else's turn: while the microphone is open it stays so, and only the voice so far is forgotten. */
  async restart() {
    at("speak").focus(); // the button that was pressed is disabled next, or gone
    if (this.voice !== this.live || !this.live.listening || !this.live.resumable) {
      this.clear();
      return;
    }
    try {
      await this.live.restart();
    } catch (error) {
      this.explain(error);
      return;
    }
    this.blank();
    this.stageNote("Speak: the first face comes after about a second");
    this.announcer.say("The voice so far is forgotten. Listening.");
  }

  /** Back to an empty easel; what was heard is forgotten. */
  clear() {
    this.live.end();
    this.file.end();
    this.voice = null;
    this.blank();
    this.buttons("idle");
    this.readings.listening("Waiting for a voice");
  }

  blank() {
    this.stage.clear();
    this.stageNote("No voice yet");
    this.readings.clear();
    this.trace.clear();
    this.faces.clear();
    this.voices.clear();
    this.announcer.clear();
    this.notices.hide();
    this.held(false);
    this.allow(false);
  }
}

at("address").textContent = location.host;
const page = new Page();
page.clear();
page.beside.clear();
page.connect();
