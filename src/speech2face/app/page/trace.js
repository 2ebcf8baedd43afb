// The sound as it passes: one stroke for each 50 ms, heavier where speech is heard.

const STROKE_PIXELS = 3;
const GAP_PIXELS = 2;

export class Trace {
  constructor(canvas) {
    this.canvas = canvas;
    this.strokes = []; // {peak, heard}
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  add(peak, heard) {
    this.strokes.push({ peak, heard });
    if (this.strokes.length > 400) this.strokes.splice(0, 200);
    this.waiting ??= requestAnimationFrame(() => this.draw());
  }

  clear() {
    this.strokes = [];
    this.draw();
  }

  draw() {
    this.waiting = null;
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const context = this.canvas.getContext("2d");
    context.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    const step = STROKE_PIXELS + GAP_PIXELS;
    const places = Math.floor(width / step);
    const shown = this.still.matches ? level(this.strokes, places) : this.strokes.slice(-places);
    for (let place = 0; place < places; place += 1) {
      const stroke = shown[shown.length - places + place];
      const long = stroke ? Math.max(2, Math.min(1, Math.sqrt(stroke.peak) * 1.2) * height) : 2;
      context.fillStyle = stroke?.heard ? style.getPropertyValue("--slate") : style.getPropertyValue("--line-strong");
      context.beginPath();
      context.roundRect(place * step, (height - long) / 2, STROKE_PIXELS, long, STROKE_PIXELS / 2);
      context.fill();
    }
  }
}

/** Where motion is unwanted: nothing runs along, the row of strokes fills with the loudness instead. */
function level(strokes, places) {
  const last = strokes.slice(-10);
  const peak = last.reduce((most, stroke) => Math.max(most, stroke.peak), 0);
  const filled = Math.round(Math.min(1, Math.sqrt(peak) * 1.2) * places);
  const heard = last.some((stroke) => stroke.heard);
  return Array.from({ length: places }, (_, place) => ({ peak: place < filled ? 0.2 : 0, heard: heard && place < filled }));
}
