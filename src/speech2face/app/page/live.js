// A live session: sound out, facts and pictures in, over one WebSocket.

import { currentToken, Refused } from "./service.js";

const UPDATES_PER_SECOND = 4;
const WAITING_SECONDS = 3; // of sound not sent yet; beyond it newer sound is dropped, the connection is too slow
const ANSWER_SECONDS = 8;

/**
 * Open a session; resolves when the service is ready for sound.
 *
 * `on` has update(facts, picture Blob or null), error(code, text), closed(Refused or null), slow(),
 * puppet(SVG as a Blob) and poses(rows) where motion is wanted.
 */
export function openLive({ sampleRate, pixels, given, exaggerate, style, model, motion, speakers = "one" }, on) {
  const address = new URL("v1/live", location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  const session = new Session(socket, sampleRate, on);
  const start = {
    type: "start",
    format: "s16le",
    sample_rate: sampleRate,
    channels: 1,
    updates_per_second: UPDATES_PER_SECOND,
    picture: "webp",
    pixels,
    given,
    exaggerate,
    style,
    speakers,
    motion,
    model: model ?? null,
    token: currentToken(),
  };
  socket.addEventListener("open", () => session.tell(start));
  return session.ready;
}

class Session {
  constructor(socket, sampleRate, on) {
    this.socket = socket;
    this.sampleRate = sampleRate;
    this.on = on;
    this.announced = null; // the message whose picture comes next
    this.waiting = []; // for a sheet or a labelled picture: {type, resolve, reject}
    this.refusal = null;
    this.left = false;
    this.slow = false;
    this.isReady = false;
    this.ready = new Promise((resolve, reject) => {
      this.begun = () => resolve(this);
      this.failed = reject;
    });
    socket.addEventListener("message", ({ data }) => this.take(data));
    socket.addEventListener("close", (event) => this.closed(event));
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  tell(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
  }

  /** Send a piece of sound, or drop it where the connection does not keep up. */
  hear(sound) {
    if (!this.open) return;
    const behind = this.socket.bufferedAmount > WAITING_SECONDS * this.sampleRate * 2;
    if (behind && !this.slow) this.on.slow();
    this.slow = behind;
    if (!behind) this.socket.send(sound);
  }

  set(given, exaggerate, style) {
    this.tell({ type: "set", given, exaggerate, style });
  }

  hold(on) {
    this.tell({ type: "hold", on });
  }

  reset() {
    return this.answer("reset", { type: "reset" });
  }

  /** Further faces, equally likely: {count, layout, picture}. */
  sheet(count, pixels, seed) {
    return this.answer("sheet", { type: "samples", count, layout: "strip", pixels, seed });
  }

  /** The picture with its label, for saving: {facts, picture}, a PNG or, of what is drawn, an SVG. */
  labelled(pixels, picture = "png") {
    return this.answer("portrait", { type: "portrait", pixels, picture });
  }

  leave() {
    this.left = true;
    this.tell({ type: "finish" });
    setTimeout(() => this.socket.close(1000), 1000);
  }

  answer(type, question) {
    if (!this.open) return Promise.reject(new Refused(0, "closed", "The session has ended."));
    this.tell(question);
    return new Promise((resolve, reject) => {
      const entry = { type, resolve, reject };
      this.waiting.push(entry);
      // It stays in line: an answer that comes after all must not be taken for the one to the next question.
      setTimeout(() => reject(new Refused(0, "late", "The service did not answer.")), ANSWER_SECONDS * 1000);
    });
  }

  give(entry, value, error = null) {
    const place = this.waiting.indexOf(entry);
    if (place < 0) return;
    this.waiting.splice(place, 1);
    if (error) entry.reject(error);
    else entry.resolve(value);
  }

  take(data) {
    if (typeof data !== "string") {
      const message = this.announced;
      this.announced = null;
      if (message) this.handle(message, new Blob([data], { type: message.picture.media_type }));
      return;
    }
    const message = JSON.parse(data);
    if (message.picture) this.announced = message;
    else this.handle(message, null);
  }

  handle(message, picture) {
    if (this.left) return;
    if (message.type === "ready") {
      this.isReady = true;
      this.begun();
    } else if (message.type === "update") this.on.update(message.facts, picture);
    else if (message.type === "poses") this.on.poses(message.poses);
    else if (message.type === "puppet") this.on.puppet(picture);
    else if (message.type === "error") this.fault(message);
    else {
      const entry = this.waiting.find(({ type }) => type === message.type);
      if (entry) this.give(entry, { ...message, picture });
    }
  }

  fault({ code, text, fatal }) {
    const refusal = new Refused(0, code, text);
    if (fatal) this.refusal = refusal;
    else if (this.waiting.length) this.give(this.waiting[0], null, refusal);
    else this.on.error(refusal);
  }

  closed({ code, reason }) {
    const refusal = this.refusal ?? new Refused(code, "", reason);
    refusal.status = code;
    for (const entry of [...this.waiting]) this.give(entry, null, refusal);
    if (!this.isReady) this.failed(refusal);
    else if (!this.left) this.on.closed(refusal);
  }
}
