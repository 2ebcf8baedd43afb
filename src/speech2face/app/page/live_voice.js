// The voice from the microphone: the portrait sharpens while it speaks.

import { FACE_PIXELS, FACES } from "./faces.js";
import { openLive } from "./live.js";
import { openMicrophone } from "./microphone.js";
import { Refused } from "./service.js";
import { ofMicrophone } from "./texts.js";

const PIXELS = 512;
const SHEET_FROM_SECONDS = 3; // of speech; before it the draws still jump about
const SHEET_EVERY_SECONDS = 15;
const QUIET_MILLISECONDS = 900; // without new speech: nobody speaks
const PIECES_PER_SECOND = 60; // small ones: lips are late by the length of one
const PIECES_PER_STROKE = 3; // of the trace
const SILENT_PIECES = 180; // 3 s without any sound at all: no room is that still, the microphone is muted
const SILENT_PEAK = 0.001;

export class LiveVoice {
  canHold = true;

  constructor(page) {
    this.page = page;
    this.microphone = null;
    this.session = null;
    this.busy = false; // the microphone or the session is being opened
    this.turn = 0; // counts up when what is being opened is no longer wanted
    this.forget();
  }

  forget() {
    this.facts = null;
    this.picture = null; // the newest that came
    this.heldPicture = null;
    this.heldDrawing = null;
    this.isHeld = false;
    this.holding = null; // what was asked for when the picture was held; whoever saves waits for it
    this.lastSpeech = -Infinity;
    this.lastSheet = -Infinity;
    this.silentPieces = 0;
    this.pieces = 0;
    this.loudest = 0; // since the last stroke of the trace
  }

  get listening() {
    return this.microphone !== null;
  }

  get resumable() {
    return Boolean(this.session?.open);
  }

  /** Open the microphone and, where there is none, the session; sound that comes meanwhile is kept for it. */
  async listen() {
    this.busy = true;
    this.page.buttons("working");
    if (!this.facts) this.page.stageNote("If the browser asks, allow the microphone");
    try {
      if (!(await this.connect())) return;
      this.page.buttons("listening");
      this.page.readings.listening("Waiting for a voice");
      this.page.announcer.say("Listening.");
      if (!this.facts) this.page.stageNote("Speak: the first face comes after about a second");
    } catch (error) {
      await this.silence();
      this.page.buttons(this.facts ? "paused" : "idle");
      if (!this.facts) this.page.stageNote("No voice yet");
      this.page.explain(error);
    } finally {
      this.busy = false;
    }
  }

  /** Whether it is still wanted when all is open. */
  async connect() {
    const turn = this.turn;
    const early = [];
    let session = null;
    const onSound = (sound, peak) => {
      if (session) session.hear(sound);
      else early.push(sound);
      this.hears(peak);
    };
    const microphone = await openMicrophone(onSound, () => this.microphoneGone(), PIECES_PER_SECOND);
    if (turn !== this.turn) {
      await microphone.close();
      return false;
    }
    this.microphone = microphone;
    if (this.session?.sampleRate !== microphone.sampleRate || !this.resumable) {
      this.session?.leave();
      const opened = await this.open(microphone.sampleRate);
      if (turn !== this.turn) {
        opened.leave();
        return false;
      }
      this.session = opened;
    }
    session = this.session;
    early.forEach((sound) => session.hear(sound));
    return true;
  }

  open(sampleRate) {
    const { given, exaggerate, style, model } = this.page.controls;
    return openLive(
      {
        ...{ sampleRate, pixels: PIXELS, given, exaggerate, style, model: model?.name, motion: "poses" },
        speakers: this.page.voices.wanted ? "auto" : "one",
      },
      {
        puppet: async (drawing) => this.page.stage.setPuppet(await drawing.text()),
        poses: (rows) => this.listening && this.page.stage.hold(rows.at(-1)),
        update: (facts, picture) => this.update(facts, picture),
        error: (refusal) => this.page.explain(refusal),
        closed: (refusal) => this.closed(refusal),
        slow: () => this.page.notices.show(["The connection is too slow", "Some of the sound is left out."]),
      },
    );
  }

  hears(peak) {
    const quiet = performance.now() - this.lastSpeech > QUIET_MILLISECONDS;
    this.loudest = Math.max(this.loudest, peak);
    this.pieces += 1;
    if (this.pieces % PIECES_PER_STROKE === 0) {
      this.page.trace.add(this.loudest, !quiet);
      this.loudest = 0;
    }
    const known = this.facts ? "Quiet" : "Waiting for a voice";
    if (this.listening) this.page.readings.listening(quiet ? known : "Hearing a voice");
    this.silentPieces = peak < SILENT_PEAK ? this.silentPieces + 1 : 0;
    if (this.silentPieces === SILENT_PIECES) this.page.notices.show(ofMicrophone("silent"));
  }

  update(facts, picture) {
    if (facts.seconds_heard > (this.facts?.seconds_heard ?? 0)) this.lastSpeech = performance.now();
    this.facts = facts;
    if (facts.style === "photographic") this.page.stage.setPuppet(null);
    this.picture = picture ?? this.picture;
    this.page.show(facts, this.isHeld ? null : picture);
    this.page.voices.showLive(facts, picture);
    const due = performance.now() - this.lastSheet > SHEET_EVERY_SECONDS * 1000;
    if (picture && facts.seconds_heard >= SHEET_FROM_SECONDS && due) this.draw();
  }

  /** Further faces: the same ones under the belief of now, or with another seed others. */
  async draw(seed = null) {
    this.lastSheet = performance.now();
    await this.unlessRefused(async () => {
      const { picture } = await this.session.sheet(FACES, FACE_PIXELS, seed);
      await this.page.faces.showStrip(picture);
    });
  }

  change() {
    const { given, exaggerate, style } = this.page.controls;
    if (!this.resumable) return;
    this.session.set(given, exaggerate, style);
    if (this.lastSheet > -Infinity) this.draw();
  }

  /** Keep the picture as it is; the one on show is then the one that is saved. */
  async hold(on) {
    this.isHeld = on;
    this.page.stage.freeze(on);
    this.heldPicture = this.heldDrawing = null;
    this.page.held(on);
    if (!this.resumable) return;
    this.session.hold(on);
    if (!on) return;
    this.holding = this.unlessRefused(async () => {
      // Both are asked for at once, with no sound between: they show the same face.
      const asked = [this.session.labelled(PIXELS)];
      if (this.page.controls.style !== "photographic") asked.push(this.session.labelled(PIXELS, "svg"));
      const [{ facts, picture }, drawing = null] = await Promise.all(asked);
      if (!this.isHeld) return;
      this.heldPicture = picture;
      this.heldDrawing = drawing?.picture;
      this.page.hang(facts, picture);
    });
    await this.holding;
  }

  /** The picture to save. Those that came with updates carry the label as well, should the session end or be late. */
  async labelled() {
    if (this.isHeld) await this.holding;
    if (this.isHeld && this.heldPicture) return this.heldPicture;
    if (!this.resumable) return this.picture;
    try {
      return (await this.session.labelled(PIXELS)).picture;
    } catch (error) {
      if (this.picture && error instanceof Refused) return this.picture;
      throw error;
    }
  }

  /** The drawing to save, as SVG. */
  async labelledDrawing() {
    if (this.isHeld) await this.holding;
    if (this.isHeld && this.heldDrawing) return this.heldDrawing;
    if (!this.resumable) throw new Refused(0, "closed", "The session has ended; the picture can still be saved.");
    return (await this.session.labelled(PIXELS, "svg")).picture;
  }

  /** What is asked in passing may be refused (too little heard, session over): what is on show stays. */
  async unlessRefused(asking) {
    try {
      if (this.resumable) await asking();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }

  /** Stop listening; the session stays a while, for changes, for saving, or to go on. */
  async pause() {
    await this.silence();
    this.page.buttons(this.facts ? "paused" : "idle");
    this.page.readings.listening("Stopped");
    if (!this.facts) this.page.stageNote("No voice was heard");
    this.page.announcer.say(this.facts ? "Stopped listening." : "Stopped listening. No voice was heard.");
  }

  async silence() {
    const { microphone } = this;
    this.microphone = null;
    this.page.stage.hold();
    await microphone?.close();
  }

  async microphoneGone() {
    await this.pause();
    this.page.notices.show(ofMicrophone("gone"));
  }

  async closed(refusal) {
    this.session = null;
    await this.silence();
    this.page.buttons("idle");
    this.page.readings.listening("Stopped");
    if (refusal.status !== 1000) this.page.explain(refusal);
  }

  /** Somebody else speaks: forget the voice so far and go on listening. */
  async restart() {
    if (this.isHeld) this.session.hold(false);
    await this.session.reset();
    this.forget();
  }

  async end() {
    this.turn += 1;
    this.session?.leave();
    this.session = null;
    this.forget();
    await this.silence();
  }
}
