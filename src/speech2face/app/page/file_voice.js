// The voice of a file: heard once, drawn again where something is changed.

import { FACE_PIXELS, FACES, newSeed } from "./faces.js";
import { conversationOf, portraitOf } from "./service.js";

export class FileVoice {
  canHold = false; // nothing moves that could be held

  constructor(page) {
    this.page = page;
    this.file = null;
    this.answer = null;
  }

  async take(file) {
    this.file = file;
    this.seed = newSeed();
    this.answer = null;
    this.page.stageNote(`Listening to ${file.name}`);
    this.page.announcer.say(`Listening to ${file.name}.`);
    await this.ask();
  }

  /** The portrait, then the faces beside it; what was asked before is no longer waited for. */
  async ask({ facesOnly = false } = {}) {
    this.waiting?.abort();
    const waiting = new AbortController();
    this.waiting = waiting;
    document.body.dataset.asking = true;
    try {
      const { given, exaggerate, style, model } = this.page.controls;
      const query = { ...given, exaggerate, style, model: model?.name };
      if (this.page.voices.wanted) {
        this.conversation = await conversationOf(this.file, query, waiting.signal);
        this.page.faces.clear();
        this.page.voices.showConversation(this.conversation);
        this.page.readings.listening(`Read from ${this.file.name}`);
        return;
      }
      this.page.voices.clear();
      if (!facesOnly) {
        this.answer = await portraitOf(this.file, query, waiting.signal);
        this.page.show(this.answer.facts, this.answer.picture);
        this.page.readings.listening(`Read from ${this.file.name}`);
      }
      // Equally likely by the voice, so not exaggerated.
      const small = { exaggerate: 0, seed: this.seed, samples: FACES, pixels: FACE_PIXELS, picture: "webp" };
      const { samples } = await portraitOf(this.file, { ...query, ...small }, waiting.signal);
      await this.page.faces.show(samples);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (!this.answer) this.page.stageNote("No portrait");
      this.page.explain(error);
    } finally {
      if (this.waiting === waiting) document.body.dataset.asking = false;
    }
  }

  /** One of the voices of a conversation is on show, and is what is saved. */
  chosen(facts, picture) {
    this.answer = this.conversation.portraits.find((portrait) => portrait.picture === picture);
  }

  change() {
    return this.ask();
  }

  draw(seed) {
    this.seed = seed;
    return this.ask({ facesOnly: true });
  }

  async labelled() {
    return this.answer.picture;
  }

  async labelledDrawing() {
    return this.answer.drawing;
  }

  end() {
    this.waiting?.abort();
    this.waiting = null;
    this.file = null;
    this.answer = this.conversation = null;
    document.body.dataset.asking = false;
  }
}
