// Several voices in one recording or at one microphone: a face each, and who spoke when.

const at = (id) => document.getElementById(id);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

export class Voices {
  /** `onChoose(facts, picture)` hangs a voice's portrait on the easel. */
  constructor({ onChoose }) {
    this.onChoose = onChoose;
    this.rows = new Map(); // by speaker: {item, button, image, detail, lane}
  }

  get wanted() {
    return at("several").checked;
  }

  /** Of a recording: the facts of the conversation, and the portraits {facts, picture} of those who are drawn. */
  showConversation({ facts, portraits }) {
    this.clear();
    const drawn = [...portraits];
    for (const speaker of facts.speakers) {
      const portrait = speaker.portrait ? drawn.shift() : null;
      const row = this.row(speaker.speaker);
      this.fill(row, portrait?.facts, portrait?.picture, speaker.note || `${speaker.seconds.toFixed(1)} s`);
      this.stretches(row, speaker.segments, facts.seconds_recorded);
    }
    if (facts.left_out.length) {
      const row = this.row("left out");
      this.fill(row, null, null, "two at once, or nobody’s for sure");
      this.stretches(row, facts.left_out, facts.seconds_recorded);
    }
    this.choose(1);
  }

  /** Live: the newest of the voice that was heard last, which is on the easel anyway. */
  showLive(facts, picture) {
    if (facts.speaker === undefined || !picture) return;
    const row = this.row(facts.speaker);
    this.fill(row, facts, picture, `${facts.seconds_heard.toFixed(1)} s`);
    this.mark(facts.speaker);
  }

  row(speaker) {
    at("voices").hidden = false;
    if (this.rows.has(speaker)) return this.rows.get(speaker);
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const image = new Image();
    image.alt = "";
    const name = document.createElement("span");
    name.textContent = speaker === "left out" ? "Left out" : `Speaker ${speaker}`;
    const detail = document.createElement("span");
    detail.className = "detail";
    button.append(image, name, detail);
    button.addEventListener("click", () => this.choose(speaker));
    const lane = document.createElement("div");
    lane.className = "lane";
    lane.hidden = true;
    lane.setAttribute("role", "img");
    item.append(button, lane);
    at("voice-rows").append(item);
    const row = { item, button, image, detail, lane, facts: null, picture: null };
    this.rows.set(speaker, row);
    return row;
  }

  fill(row, facts, picture, said) {
    const read = facts?.age === undefined ? "" : `age ${Math.round(facts.age)}, ${facts.gender.text}, `;
    row.detail.textContent = `${read}${said}`;
    row.button.disabled = !picture;
    row.image.hidden = !picture;
    if (!picture) return;
    URL.revokeObjectURL(row.image.src);
    row.image.src = URL.createObjectURL(picture);
    Object.assign(row, { facts, picture });
  }

  stretches(row, segments, seconds) {
    row.lane.hidden = false;
    row.lane.setAttribute("aria-label", segments.map(([start, stop]) => `${clock(start)} to ${clock(stop)}`).join(", "));
    row.lane.replaceChildren(
      ...segments.map(([start, stop]) => {
        const mark = document.createElement("i");
        mark.style.left = `${(100 * start) / seconds}%`;
        mark.style.width = `${(100 * (stop - start)) / seconds}%`;
        return mark;
      }),
    );
  }

  choose(speaker) {
    const { facts, picture } = this.rows.get(speaker) ?? {};
    if (!picture) return;
    this.mark(speaker);
    this.onChoose(facts, picture);
  }

  mark(speaker) {
    for (const [each, { button }] of this.rows) button.setAttribute("aria-pressed", each === speaker);
  }

  clear() {
    for (const { image } of this.rows.values()) URL.revokeObjectURL(image.src);
    this.rows.clear();
    at("voice-rows").replaceChildren();
    at("voices").hidden = true;
  }
}
