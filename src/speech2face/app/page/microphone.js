// The microphone, opened on a press and closed for good: its light goes out when the page stops listening.

import { Refused } from "./service.js";

/** Why there is no sound; `code` is one of denied, missing, busy, insecure, unsupported. */
export class MicrophoneRefused extends Error {
  constructor(code, cause) {
    super(code, { cause });
    this.code = code;
  }
}

/** Of a `MicrophoneRefused`, by what a browser calls it; those of a camera are the same. */
export const CODES = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
};
// Calls clean a voice up for other ears; the model learned from voices as they are.
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };

function unreachable() {
  throw new Refused(0, "unreachable", "The service does not answer.");
}

/** Open it; `onSound(buffer, peak)` gets pieces of signed 16-bit mono at `sampleRate`, of 50 ms if nothing is said. */
export async function openMicrophone(onSound, onGone, piecesPerSecond = 20) {
  if (!window.isSecureContext) throw new MicrophoneRefused("insecure");
  if (!navigator.mediaDevices || !window.AudioWorkletNode) throw new MicrophoneRefused("unsupported");
  const context = new AudioContext(); // at once: only a press may start it
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: AS_IT_IS });
    await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url)).catch(unreachable);
  } catch (error) {
    stream?.getTracks().forEach((track) => track.stop());
    await context.close();
    throw error instanceof Refused ? error : new MicrophoneRefused(CODES[error.name] ?? "unsupported", error);
  }
  await context.resume();
  const source = context.createMediaStreamSource(stream);
  const capture = new AudioWorkletNode(context, "capture", { processorOptions: { piecesPerSecond } });
  let open = true;
  capture.port.onmessage = ({ data }) => open && onSound(data.sound, data.peak);
  source.connect(capture).connect(context.destination); // silent: without a destination some browsers do not run it
  stream.getAudioTracks()[0].addEventListener("ended", () => open && onGone());
  return {
    sampleRate: context.sampleRate,
    async close() {
      open = false;
      stream.getTracks().forEach((track) => track.stop());
      source.disconnect();
      await context.close();
    },
  };
}
