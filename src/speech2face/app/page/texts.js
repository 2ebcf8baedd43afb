// What is said to the person at the page when something does not work, and how to mend it.

const MICROPHONE = {
  denied: [
    "The microphone was refused",
    "The browser did not give it to this page. Open the site settings beside the address, allow the microphone, then press Speak again. A file works without it.",
  ],
  missing: ["No microphone was found", "Connect one, or choose a recording instead."],
  busy: ["The microphone is taken", "Another program seems to be using it. Close that one, then press Speak again."],
  insecure: [
    "The browser gives no microphone to this address",
    "It does so only for https addresses and for localhost. A file works here as well.",
  ],
  unsupported: ["This browser cannot record here", "A current Firefox, Chrome, Edge or Safari can. A file works in any of them."],
  silent: ["The microphone gives no sound", "It may be muted, or the browser uses another one: see the site settings beside the address."],
  gone: ["The microphone went away", "It was unplugged or taken back. What was heard so far stays."],
};

const CLOSED = {
  1001: ["The service is shutting down", "The last picture stays. Press Speak when it is back."],
  1011: ["The service stumbled", "Something went wrong inside it. The last picture stays; press Speak to begin anew."],
  4401: ["The token is missing or wrong", "Give the token that the service was started with."],
  4400: ["The service refused what was set", ""],
  4408: ["The session was closed", ""],
  4413: ["The service refused the sound", "It came in pieces larger than it takes."],
  4422: ["This sound cannot be used", ""],
  4429: ["The service is busy", "It listens to as many people as it can just now. Try again in a moment."],
  4503: ["The model is still being loaded", "Try again in a few seconds."],
};

const STATUS = {
  0: ["The service does not answer", "Is it still running? The command is: speech2face serve"],
  401: ["The token is missing or wrong", "Give the token that the service was started with."],
  413: ["The file is too large", ""],
  415: ["This is not a recording", "Sound and video files of nearly every kind are."],
  422: ["No portrait of this file", ""],
  429: ["The service is busy", "Try again in a moment."],
  503: ["The model is still being loaded", "Try again in a few seconds."],
};

STATUS[502] = STATUS[504] = STATUS[0]; // of a proxy that does not reach it

const LOST = ["The connection to the service was lost", "The last picture stays. Is the service still running? Press Speak to begin anew."];

/** [title, text] for a microphone's code. */
export const ofMicrophone = (code) => MICROPHONE[code] ?? MICROPHONE.unsupported;

/** [title, text] for a session that ended. */
export function ofClose({ status, message }) {
  const [title, text] = CLOSED[status] ?? LOST;
  return [title, text || `${sentence(message)} The last picture stays. Press Speak to begin anew.`];
}

/** [title, text] for a request that was refused; the service's own words say most. */
export function ofRefusal({ status, message, retryAfter }) {
  const [title, text] = STATUS[status] ?? ["That did not work", ""];
  const again = retryAfter ? ` Try again in ${retryAfter} s.` : "";
  return [title, status === 429 && again ? again.trim() : text || sentence(message) + again];
}

const sentence = (text) => (text ? text[0].toUpperCase() + text.slice(1).replace(/[.]?$/, ".") : "");
