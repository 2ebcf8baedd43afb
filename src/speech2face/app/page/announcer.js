// What is said aloud to whoever listens to the page: seldom, and only what has changed.

const LEAST_SECONDS = 10; // between two readings of one voice
const YEARS = 5; // a change of age worth saying

export class Announcer {
  constructor(region) {
    this.region = region;
    this.clear();
  }

  /** Say it now. */
  say(text) {
    this.region.textContent = text;
  }

  /** Whether a reading is new enough to be said: the first, then what moved, at most every ten seconds. */
  due(facts) {
    const now = performance.now() / 1000;
    const codes = facts.cautions.map(({ code }) => code).join();
    const last = this.last;
    const moved =
      !last ||
      last.codes !== codes ||
      last.reading !== facts.gender?.reading ||
      Math.abs(last.age - facts.age) >= YEARS;
    if (last && (!moved || now - last.at < LEAST_SECONDS)) return false;
    this.last = { at: now, codes, reading: facts.gender?.reading, age: facts.age };
    return true;
  }

  clear() {
    this.last = null;
  }
}
