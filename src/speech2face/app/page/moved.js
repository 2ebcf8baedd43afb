// What moved between two voices, in words: the numbers as they are shown, and how sure they are.

const whole = (years) => Math.round(years);
const within = (age, [low, high]) => low <= age && age <= high;
const none = "–";

function older(first, second) {
  const years = whole(second.age) - whole(first.age);
  if (!years) return "of the same age";
  return `${Math.abs(years)} ${Math.abs(years) === 1 ? "year" : "years"} ${years > 0 ? "older" : "younger"}`;
}

function sureness(first, second) {
  const inside = [within(second.age, first.age_interval_80), within(first.age, second.age_interval_80)];
  if (inside.every(Boolean)) return "Each age lies inside the other’s interval, so they may well be of the same age.";
  if (inside.some(Boolean)) return "One of the ages lies outside the other’s interval.";
  return "Each age lies outside the other’s interval.";
}

/** [What moved, how sure that is] of the facts of two portraits, in whole sentences. */
export function inSentences(first, second) {
  if (first.age === undefined || second.age === undefined) {
    return ["What differs is the faces alone.", "This model states no age and no gender reading."];
  }
  const same = first.gender.reading === second.gender.reading;
  const gender = same
    ? `both are read as ${first.gender.reading}`
    : `as ${second.gender.reading} where the first is read as ${first.gender.reading}`;
  const cautions = first.cautions.length + second.cautions.length;
  const careful = cautions ? " Mind the cautions." : "";
  return [`The second is read ${older(first, second)}, and ${gender}.`, `${sureness(first, second)}${careful}`];
}

/** Rows of [what, first, second, difference]. */
export function inRows(first, second) {
  const rows = [["Speech heard", ...pair(first, second, ({ seconds_heard: seconds }) => `${seconds.toFixed(1)} s`), none]];
  if (first.age !== undefined && second.age !== undefined) {
    const [low, high] = [0, 1].map((end) => [first, second].map((facts) => facts.age_interval_80[end]));
    const [from, to] = [whole(Math.max(...low)), whole(Math.min(...high))];
    const change = second.gender.reading === first.gender.reading ? "the same" : "another reading";
    rows.unshift(
      ["Age", ...pair(first, second, ({ age }) => `about ${whole(age)}`), older(first, second)],
      [
        "80 % interval",
        ...pair(first, second, ({ age_interval_80: interval }) => interval.map(whole).join(" to ")),
        from <= to ? `shared: ${from} to ${to}` : "nothing shared",
      ],
      ["Voice read as", ...pair(first, second, ({ gender }) => gender.text.replace(" %", "\u00a0%")), change],
    );
  }
  const codes = [first, second].map(({ cautions }) => cautions.map(({ code }) => code).join());
  const counts = pair(first, second, ({ cautions }) => String(cautions.length || "none"));
  rows.push(["Cautions", ...counts, codes[0] === codes[1] ? "the same" : "not the same"]);
  return rows;
}

const pair = (first, second, say) => [say(first), say(second)];
