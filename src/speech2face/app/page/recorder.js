// A voice from the microphone as a file: kept in this page's memory until it is sent.

import { openMicrophone } from "./microphone.js";

const MOST_SECONDS = 60;
const HEADER_BYTES = 44;

/** Begin; `onSeconds(seconds)` is told how much there is, `onEnd()` that no more is taken. */
export async function startRecording({ onSeconds, onEnd }) {
  const pieces = [];
  let bytes = 0;
  let microphone = null;
  microphone = await openMicrophone((sound) => {
    pieces.push(sound);
    bytes += sound.byteLength;
    const seconds = microphone ? bytes / 2 / microphone.sampleRate : 0;
    onSeconds(seconds);
    if (seconds >= MOST_SECONDS) onEnd();
  }, onEnd);
  return {
    /** Close the microphone; what was recorded, as a WAV file. */
    async stop() {
      await microphone.close();
      return new File([header(bytes, microphone.sampleRate), ...pieces], "recording.wav", { type: "audio/wav" });
    },
  };
}

/** Of signed 16-bit mono: RIFF, fmt and the beginning of data. */
function header(bytes, sampleRate) {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  const text = (place, letters) => [...letters].forEach((letter, at) => view.setUint8(place + at, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, HEADER_BYTES - 8 + bytes, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, bytes, true);
  return view;
}
