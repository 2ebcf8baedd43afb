// The picture: one face fading into the next, out of focus while little was heard; a drawn one moves while it is heard.

import { Puppet } from "./puppet.js";

const AT_REST = Array(9).fill(0);
const FADE_MILLISECONDS = 240; // just under the time between two updates
const FOCUS_SECONDS = 6; // what the model is usually asked with; the card's numbers begin to settle there
const BLUR_SHARE = 0.016; // of the picture's width, with nothing heard

/** Blur by how little was heard, as a share of the picture's width: 0 from six seconds on. */
export const lacking = (seconds) => (Math.max(0, 1 - seconds / FOCUS_SECONDS) * BLUR_SHARE).toFixed(4);

export class Stage {
  constructor(element) {
    this.element = element;
    this.layers = [];
    this.next = null;
    this.fading = false;
    this.pictures = 0; // shown since the last clear
    this.puppet = null; // lies over the pictures
    this.frozen = false;
    this.row = AT_REST;
  }

  /** Show a picture; where one is still fading in, only the newest of those that wait comes next. */
  async show(blob) {
    this.next = blob;
    if (this.fading) return;
    this.fading = true;
    try {
      while (this.next) {
        const picture = this.next;
        this.next = null;
        await this.fade(picture);
      }
    } finally {
      this.fading = false;
    }
  }

  async fade(blob) {
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = URL.createObjectURL(blob);
    try {
      await image.decode();
    } catch {
      URL.revokeObjectURL(image.src);
      return;
    }
    this.element.append(image);
    this.layers.push(image);
    this.pictures += 1;
    this.element.dataset.pictures = this.pictures;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (!still && this.element.animate) {
      await image.animate({ opacity: [0, 1] }, { duration: FADE_MILLISECONDS }).finished.catch(() => {});
    }
    for (const older of this.layers.splice(0, this.layers.indexOf(image))) this.drop(older);
  }

  drop(image) {
    image.remove();
    URL.revokeObjectURL(image.src);
  }

  focus(seconds) {
    this.element.style.setProperty("--lacking", lacking(seconds));
  }

  /** The moving face, as the service's SVG, or null for none. */
  setPuppet(text) {
    if (this.frozen) return;
    this.puppet?.element.remove();
    this.puppet = text && !matchMedia("(prefers-reduced-motion: reduce)").matches ? new Puppet(text) : null;
    if (!this.puppet) return;
    this.puppet.hold(this.row); // a new face goes on where the last one was
    this.element.append(this.puppet.element);
  }

  /** Hold the moving face as a row of nine numbers says. */
  hold(row = AT_REST) {
    if (this.frozen) return;
    this.row = row;
    this.puppet?.hold(row);
  }

  freeze(on) {
    this.frozen = on;
  }

  /** For whoever does not see it. */
  describe(text) {
    this.element.setAttribute("aria-label", text);
  }

  clear() {
    this.frozen = false;
    this.row = AT_REST;
    this.setPuppet(null);
    this.next = null;
    for (const image of this.layers.splice(0)) this.drop(image);
    this.pictures = 0;
    this.element.dataset.pictures = 0;
    this.describe("No portrait yet");
    this.focus(FOCUS_SECONDS);
  }
}
