// A drawn face that moves: every path is mixed from those that the service wrote beside it, by the poses that come.

const NAMES = ["jaw", "spread", "rounding", "blinkLeft", "blinkRight", "brow", "right", "down", "roll"];
const KEYS = ["open", "spread", "round", "open-spread", "open-round", "blink-left", "blink-right", "brow"];
const NUMBER = /-?\d+(?:\.\d+)?/g;

const numbers = (path) => path.match(NUMBER).map(Number);

/** How much of each key pose is in a pose. */
function weights({ jaw, spread, rounding, blinkLeft, blinkRight, brow }) {
  const neutral = Math.max(0, 1 - spread - rounding);
  return {
    open: jaw * neutral,
    spread: (1 - jaw) * spread,
    round: (1 - jaw) * rounding,
    "open-spread": jaw * spread,
    "open-round": jaw * rounding,
    "blink-left": blinkLeft,
    "blink-right": blinkRight,
    brow,
    jaw,
  };
}

class Path {
  constructor(element) {
    this.element = element;
    const rest = element.getAttribute("d");
    this.between = rest.split(NUMBER);
    this.rest = numbers(rest);
    this.changes = KEYS.filter((key) => element.hasAttribute(`data-${key}`)).map((key) => [
      key,
      numbers(element.getAttribute(`data-${key}`)).map((value, index) => value - this.rest[index]),
    ]);
    this.isMouth = this.changes.some(([key]) => key === "open-spread");
  }

  hold(shares) {
    const mixed = [...this.rest];
    for (const [key, change] of this.changes) {
      const share = key === "open" && !this.isMouth ? shares.jaw : shares[key];
      if (share) change.forEach((value, index) => (mixed[index] += share * value));
    }
    const text = mixed.map((value, index) => this.between[index] + value.toFixed(1)).join("");
    this.element.setAttribute("d", text + this.between.at(-1));
  }
}

export class Puppet {
  /** `text` is the service's SVG; `size` the units of its width. */
  constructor(text) {
    const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
    this.element = document.importNode(parsed.documentElement, true);
    for (const element of this.element.querySelectorAll("[id]")) element.removeAttribute("id"); // the page has its own
    this.element.setAttribute("aria-hidden", "true");
    this.element.classList.add("puppet");
    this.size = Number(this.element.getAttribute("width"));
    this.heads = [...this.element.querySelectorAll(".head")];
    this.paths = [...this.element.querySelectorAll("path")].map((path) => new Path(path)).filter((path) => path.changes.length);
  }

  /** A row of nine numbers, in the order of NAMES. */
  hold(row) {
    const pose = Object.fromEntries(NAMES.map((name, index) => [name, row[index]]));
    const shares = weights(pose);
    for (const path of this.paths) path.hold(shares);
    const way = `translate(${(pose.right * this.size).toFixed(2)} ${(pose.down * this.size).toFixed(2)})`;
    for (const head of this.heads) {
      head.setAttribute("transform", `${way} rotate(${pose.roll.toFixed(3)} ${head.dataset.pivot})`);
    }
    this.element.dataset.jaw = pose.jaw.toFixed(2);
  }
}
