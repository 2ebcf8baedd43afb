// What is believed, in words and as bars: seconds heard, age with its interval, the gender reading, cautions.

const FOCUS_SECONDS = 6;
const OLDEST = 100; // right end of the age axis
const NOW_HEIGHT = 7; // of the bar; the past hangs below it, in the funnel's own units
const FUNNEL_HEIGHT = 56;
const MOST_PAST = 90;

const at = (id) => document.getElementById(id);
const place = (share) => `${(100 * share).toFixed(1)}%`; // in a style

export class Readings {
  constructor({ onRestart }) {
    this.onRestart = onRestart;
    this.past = []; // {seconds, low, high, mean}
    this.codes = "";
  }

  show(facts) {
    this.heard(facts.seconds_heard);
    const known = facts.age !== undefined;
    if (known) {
      this.age(facts);
      this.gender(facts);
    }
    at("age-reading").hidden = at("gender-reading").hidden = !known && facts.seconds_heard >= 1.5;
    at("no-attributes").hidden = known || facts.seconds_heard < 1.5;
    this.cautions(facts.cautions);
  }

  heard(seconds) {
    at("seconds").textContent = seconds.toFixed(1);
    at("seconds-bar").style.width = place(Math.min(1, seconds / FOCUS_SECONDS));
    at("focus-note").textContent =
      seconds < FOCUS_SECONDS
        ? "Blurred on purpose until 6 s were heard."
        : "In focus. More speech makes it a little surer.";
  }

  listening(text) {
    const element = at("listening");
    if (element.textContent !== text) element.textContent = text;
  }

  age({ age, age_interval_80: [low, high], seconds_heard: seconds, given }) {
    at("age").textContent = `about ${Math.round(age)}`;
    at("age-interval").textContent = `between ${Math.round(low)} and ${Math.round(high)}`;
    this.set("age-set", given?.age);
    const last = this.past.at(-1);
    if (last && seconds <= last.seconds + 0.05) this.past.pop();
    this.past.push({ seconds, low, high, mean: age });
    if (this.past.length > MOST_PAST) this.past = this.past.filter((_, index, all) => index % 2 === 0 || index === all.length - 1);
    this.funnel();
  }

  /** What is drawn instead, because the person said so. */
  set(name, value) {
    at(name).hidden = value === undefined;
    at(name).textContent = value === undefined ? "" : `drawn as ${value}, as you set it`;
  }

  /** The bar of now on top; below it the earlier intervals, back to the first. */
  funnel() {
    const now = this.past.at(-1);
    const span = Math.max(0.5, now.seconds - this.past[0].seconds);
    const x = (years) => (100 * Math.min(OLDEST, Math.max(0, years))) / OLDEST;
    const y = (seconds) => NOW_HEIGHT + ((FUNNEL_HEIGHT - NOW_HEIGHT) * (now.seconds - seconds)) / span;
    const points = (values) => values.map(([years, seconds]) => `${x(years).toFixed(2)},${y(seconds).toFixed(2)}`).join(" ");
    const back = [...this.past].reverse();
    const outline = [...back.map((look) => [look.low, look.seconds]), ...this.past.map((look) => [look.high, look.seconds])];
    const several = this.past.length > 1;
    at("age-reading").dataset.past = several;
    at("funnel-past").setAttribute("points", several ? points(outline) : "");
    at("funnel-mean").setAttribute("points", several ? points(back.map((look) => [look.mean, look.seconds])) : "");
    at("funnel-now").setAttribute("x", x(now.low));
    at("funnel-now").setAttribute("width", x(now.high) - x(now.low));
    at("funnel-mark").setAttribute("x", x(now.mean) - 0.4);
    at("funnel-mark").dataset.known = "yes";
  }

  gender({ gender: { reading, probability, text }, given }) {
    const femininity = reading === "feminine" ? probability : 1 - probability;
    at("gender").textContent = text;
    at("gender-detail").textContent = "";
    this.set("gender-set", given?.gender);
    at("gender-mark").hidden = false;
    at("gender-mark").style.setProperty("--femininity", femininity);
  }

  cautions(cautions) {
    const codes = cautions.map(({ code }) => code).join();
    if (codes === this.codes) return;
    this.codes = codes;
    const items = cautions.map((caution) => this.caution(caution));
    if (!items.length) {
      const none = document.createElement("li");
      none.className = "none";
      none.textContent = "None so far.";
      items.push(none);
    }
    at("cautions").replaceChildren(...items);
  }

  caution({ code, text }) {
    const item = document.createElement("li");
    item.dataset.code = code;
    item.append(text);
    if (code === "several_speakers" && this.onRestart) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Start over with this voice";
      button.addEventListener("click", this.onRestart);
      item.append(" ", button);
    }
    return item;
  }

  clear() {
    this.past = [];
    this.heard(0);
    this.cautions([]);
    at("age").textContent = at("gender").textContent = "–";
    at("age-interval").textContent = at("gender-detail").textContent = "not known yet";
    this.set("age-set");
    this.set("gender-set");
    for (const id of ["funnel-past", "funnel-mean"]) at(id).setAttribute("points", "");
    at("funnel-now").setAttribute("width", 0);
    delete at("funnel-mark").dataset.known;
    delete at("age-reading").dataset.past;
    at("gender-mark").hidden = true;
    at("age-reading").hidden = at("gender-reading").hidden = false;
    at("no-attributes").hidden = true;
  }
}

/** One sentence of what is believed, for whoever listens to the page. */
export function inWords(facts) {
  const heard = `${facts.seconds_heard.toFixed(0)} seconds heard.`;
  if (facts.age === undefined) return heard;
  const [low, high] = facts.age_interval_80.map(Math.round);
  return `${heard} Age about ${Math.round(facts.age)}, between ${low} and ${high}. Voice read as ${facts.gender.text}.`;
}
