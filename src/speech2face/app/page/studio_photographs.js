// The photographs of a studio: what the camera sees is looked at, and taken when pressed.

import { MicrophoneRefused } from "./microphone.js";
import { advise, ask, at, complain, element, over, state, whenOver } from "./studio_page.js";
import { OVER, PHOTOGRAPH, SAYS, WRONG } from "./studio_texts.js";

const LOOK_MS = 400; // between two looks through the camera
const LOOK_PIXELS = 640; // longest side of what is looked at

let camera = null;
let opening = null; // what stands for a camera that is being opened
let taken = [];
let again = null; // the place of a photograph that is to be taken once more

const nextPlace = () => again ?? taken.findIndex((each) => !each) + 1;

export function resetPhotographs() {
  for (const each of taken) if (each) URL.revokeObjectURL(each.url);
  taken = Array.from({ length: state.form.photographs }, () => null);
  again = null;
  showTaken();
}

function showTaken() {
  at("taken").replaceChildren(
    ...taken.map((each, index) => {
      const item = element("li");
      if (!each) {
        item.append(element("span", String(index + 1), { className: "empty" }));
        return item;
      }
      const button = element("button", "Take again", { type: "button", className: "quiet" });
      button.setAttribute("aria-label", `Take photograph ${index + 1} again`);
      button.addEventListener("click", () => {
        again = index + 1;
        showTaken();
        at("take").focus();
      });
      button.setAttribute("aria-pressed", String(again === index + 1));
      item.append(element("img", undefined, { src: each.url, alt: `Photograph ${index + 1}` }), button);
      for (const code of each.advice) item.append(element("p", PHOTOGRAPH[code]));
      return item;
    }),
  );
  const place = nextPlace();
  at("to-about").disabled = taken.some((each) => !each);
  at("take").disabled = !camera || place === 0;
  at("take-text").textContent = place === 0 ? SAYS.allTaken : `Take photograph ${place}${again ? " again" : ""}`;
}

export async function openCamera() {
  if (!navigator.mediaDevices) throw new MicrophoneRefused("insecure");
  if (camera || opening) return; // the browser still asks: a second press would open a second one
  const mine = {};
  opening = mine;
  const wanted = { facingMode: "user", width: { ideal: 1280 }, height: { ideal: 960 } };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
  } catch (error) {
    if (opening === mine) opening = null;
    throw error;
  }
  if (opening !== mine) {
    stream.getTracks().forEach((track) => track.stop()); // left while the browser asked
    return;
  }
  opening = null;
  camera = stream;
  at("video").srcObject = stream;
  await at("video").play();
  stream.getVideoTracks()[0].addEventListener("ended", closeCamera);
  at("camera").dataset.state = "on";
  showTaken();
  advise("photograph-advice", "", state.form.checked ? SAYS.looking : SAYS.unchecked);
  if (state.form.checked) looking(stream);
}

export function closeCamera() {
  camera?.getTracks().forEach((track) => track.stop());
  camera = opening = null;
  at("video").srcObject = null;
  at("camera").dataset.state = "off";
  at("take").disabled = true;
}

async function snapshot(type, quality, longest = Infinity) {
  const video = at("video");
  const scale = Math.min(1, longest / Math.max(video.videoWidth, video.videoHeight));
  const canvas = element("canvas", undefined, { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  canvas.getContext("2d").drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}

/** Say what the service sees, as long as the camera is open; a snapshot is forgotten at once. */
async function looking(stream) {
  while (camera === stream) {
    if (nextPlace() > 0 && !document.hidden && at("video").videoWidth) {
      const body = await snapshot("image/jpeg", 0.85, LOOK_PIXELS);
      const seen = await ask("studio/look", { method: "POST", body }).catch((error) => error);
      if (camera !== stream) return;
      if (seen instanceof Error) {
        if (seen.code === "session_gone") over(OVER.gone);
        if (seen.code === "unreachable") complain(WRONG.unreachable);
      } else if (!at("take").dataset.busy) showSeen(seen);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

function showSeen({ refused, advice }) {
  const code = refused[0] ?? advice[0];
  at("camera").dataset.state = code ? "bad" : "good";
  advise("photograph-advice", code ? "bad" : "good", code ? PHOTOGRAPH[code] : SAYS.ready);
}

export async function take() {
  const place = nextPlace();
  at("take").disabled = at("take").dataset.busy = true;
  try {
    const body = await snapshot("image/png");
    const seen = await ask(`studio/photographs/${place}`, { method: "POST", body });
    if (seen.refused.length) {
      showSeen(seen);
      return;
    }
    if (taken[place - 1]) URL.revokeObjectURL(taken[place - 1].url);
    taken[place - 1] = { url: URL.createObjectURL(body), advice: seen.advice };
    again = null;
    if (taken.every(Boolean)) advise("photograph-advice", "good", SAYS.allTaken);
  } finally {
    delete at("take").dataset.busy;
    showTaken();
    if (nextPlace() === 0) at("to-about").focus();
  }
}

whenOver(() => {
  closeCamera();
  for (const each of taken) if (each) URL.revokeObjectURL(each.url);
  taken = [];
});
