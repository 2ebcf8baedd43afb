// What the person changes about the picture: how it is shown, exaggeration, attributes set instead of heard, the model.

const SETTLE_MILLISECONDS = 120; // a slider is read when it rests this long, not at every step

const at = (id) => document.getElementById(id);
const inWords = (name) => name.replaceAll("_", " ");

export class Controls {
  constructor({ onChange, onModel }) {
    this.ageSet = false;
    this.models = [];
    const changed = () => {
      this.label();
      clearTimeout(this.timer);
      this.timer = setTimeout(onChange, SETTLE_MILLISECONDS);
    };
    at("controls").addEventListener("submit", (event) => event.preventDefault());
    at("controls").addEventListener("input", ({ target }) => {
      if (target.id === "given-age") this.ageSet = true;
      if (target.id !== "model") changed();
    });
    at("model").addEventListener("change", () => {
      this.offer();
      onModel();
    });
    at("as-heard").addEventListener("click", () => {
      this.release();
      at("exaggerate").focus(); // the button itself is disabled now
      changed();
    });
  }

  /** Take what the service has; `given` of a model names what may be set. */
  show(models) {
    this.models = models;
    at("model").replaceChildren(...models.map(({ name, version }) => new Option(`${name} ${version}`, name)));
    at("model").value = (models.find((model) => model.default) ?? models[0]).name;
    at("model-field").hidden = models.length < 2;
    this.offer();
  }

  get model() {
    return this.models.find(({ name }) => name === at("model").value);
  }

  offer() {
    const { given = {}, exaggerate = [0, 2], styles = [] } = this.model;
    const groups = given.group ?? given.groups ?? [];
    const hair = given.hair ?? [];
    const drawable = styles.includes("drawn");
    at("style-field").hidden = !drawable;
    if (!drawable) at("controls").elements.style.value = "photographic";
    at("exaggerate").max = exaggerate[1];
    if (given.age) [at("given-age").min, at("given-age").max] = given.age;
    at("given-age-field").hidden = !given.age;
    at("given-gender-field").hidden = !given.gender;
    at("given-hair-field").hidden = !hair.length;
    at("given-group-field").hidden = at("group-note").hidden = !groups.length;
    at("given").hidden = !given.age && !given.gender && !groups.length;
    const options = (first, names) => [new Option(first, ""), ...names.map((name) => new Option(inWords(name), name))];
    at("given-gender").replaceChildren(...options("as heard", given.gender ?? []));
    at("given-hair").replaceChildren(...options("most frequent", hair));
    at("given-group").replaceChildren(...options("average of all groups", groups));
    this.release();
  }

  release() {
    this.ageSet = false;
    at("exaggerate").value = 0;
    at("given-age").value = 40;
    at("given-gender").value = at("given-group").value = at("given-hair").value = "";
    this.label();
  }

  label() {
    const amount = this.exaggerate;
    at("exaggerate-value").textContent = amount ? `${amount.toFixed(1)} ×` : "off";
    at("exaggerate").setAttribute("aria-valuetext", amount ? `${amount.toFixed(1)} times` : "off");
    const age = this.ageSet ? at("given-age").value : "as heard";
    at("given-age-value").textContent = age;
    at("given-age").setAttribute("aria-valuetext", age);
    at("given-age").dataset.set = this.ageSet;
    at("as-heard").disabled = !amount && !Object.keys(this.given).length;
  }

  /** How the face is shown; nothing of what was heard, so "As heard" leaves it. */
  get style() {
    return at("controls").elements.style.value;
  }

  get exaggerate() {
    return Number(at("exaggerate").value);
  }

  /** Only what was set. */
  get given() {
    return {
      ...(this.ageSet ? { age: Number(at("given-age").value) } : {}),
      ...(at("given-gender").value ? { gender: at("given-gender").value } : {}),
      ...(at("given-group").value ? { group: at("given-group").value } : {}),
      ...(at("given-hair").value ? { hair: at("given-hair").value } : {}),
    };
  }
}
