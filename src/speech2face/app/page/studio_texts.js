// What the studio's page says by code, in one place; what is fixed stands in studio.html, what is signed in consent.py.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español" };

/** About a recording, by the service's code. */
export const VOICE = {
  not_a_voice: "No voice is found in what was recorded. Start over, and read aloud.",
  child_voice: "This reads like a child’s voice, and only adults can take part. If you are 18 or older, just go on.",
  no_sound: "No sound arrives. Is the microphone muted, or another one chosen?",
  no_speech: "No speech is heard just now. Read on aloud.",
  too_quiet: "Too quiet: speak up, or come closer to the microphone.",
  clipping: "Too loud: the sound is distorted. Move back a little.",
  noisy: "There is a lot of noise: close the window, switch off the fan, or find a quieter place.",
};

/** About a photograph, by the service's code. */
export const PHOTOGRAPH = {
  no_face: "No face is found. Look straight into the camera, with light on your face.",
  several_faces: "More than one face is seen. One person at a time, please.",
  too_small: "Come closer.",
  too_near: "Move back a little.",
  cut_off: "Your face is cut off. Move to the middle.",
  not_frontal: "Turn your face straight to the camera.",
  blurred: "The photograph is blurred. Hold still, and wipe the lens.",
  too_dark: "It is dark. Face a window or a lamp.",
  too_bright: "It is too bright. Move out of the direct light.",
  uneven_light: "The light comes from one side. Turn towards it.",
  eyes_shut: "Your eyes seem to be shut.",
  mouth_open: "Please shut your mouth and relax.",
  unchecked: "Stored without a check: no face finder is installed here.",
};

export const SAYS = {
  ready: "Very good. Hold still and take the photograph.",
  unchecked: "No face finder is installed here, so photographs are not checked. Fill the oval with your face.",
  listening: "Recording. Read aloud.",
  fine: "This sounds good. Read on.",
  paused: "Paused. Nothing is recorded now.",
  enough: "That is enough. Thank you.",
  enoughBut: "That is enough. If you can, start over and mind this:",
  allTaken: "All photographs are taken.",
  looking: "Looking for your face.",
};

export const WRONG = {
  denied: ["The browser did not give it to this page", "Open the site settings beside the address, allow microphone and camera, then try again."],
  missing: ["None was found", "Connect a microphone or camera, then try again."],
  busy: ["It is taken", "Another program seems to be using it. Close that one, then try again."],
  insecure: ["The browser gives no microphone or camera to this address", "Open the page at localhost on the machine where the studio runs."],
  unsupported: ["This browser cannot record here", "A current Firefox, Chrome, Edge or Safari can."],
  gone: ["The microphone went away", "It was unplugged or taken back. What was recorded so far stays; start again."],
  unreachable: ["The studio does not answer", "Is it still running on this machine? Nothing was stored."],
  unknown_code: ["Nobody here has this code", "Look at it again: four groups of five letters and digits."],
  other: ["That did not work", ""],
};

export const OVER = {
  left: ["Everything was erased", "You stopped before the last step. Nothing of you is stored here."],
  gone: ["This page was left alone for too long", "So that nobody else sees it, it was closed. What was not finished was erased."],
  erased: ["Everything was erased", "Your voice, your photographs and the record with your name are gone. Your withdrawal code is no longer needed."],
};

export const STORED = {
  name: "Name, in the consent record only",
  signed: "Signed",
  until: "Kept at the longest until",
  said: "Said about yourself",
  nothing: "nothing",
  person: "Random number",
  form: "Wording",
  voice: "Your voice",
};

/** What is pressed once more, where the first press only asks. */
export const SURE = { erase: "Erase for good? Press again", leave: "Really stop? Press again" };

const GENDERS = { female: "female", male: "male", other: "another gender" };
const NUMBERS = ["No", "One", "Two", "Three", "Four", "Five"];

export const photographs = (count) => `${NUMBERS[count] ?? count} photograph${count === 1 ? "" : "s"}`;
export const said = ({ age, gender }) => [age && `aged ${age.replace(/-$/, " or older").replace("-", " to ")}`, GENDERS[gender]].filter(Boolean).join(", ") || STORED.nothing;
export const fileName = (name) => (name === "voice.wav" ? STORED.voice : name.replace(/^photo-(\d+)\.png$/, "Photograph $1"));
export const day = (text) => new Date(`${text}T12:00`).toLocaleDateString("en-GB", { dateStyle: "long" });
export const moment = (text) => new Date(text).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
export const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);
