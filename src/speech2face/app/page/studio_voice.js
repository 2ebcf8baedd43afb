// The voice of a studio: what the microphone hears is sent a piece at a time, and said how it does.

import { openMicrophone } from "./microphone.js";
import { advise, ask, at, complain, trying, whenOver } from "./studio_page.js";
import { SAYS, VOICE, WRONG } from "./studio_texts.js";

const SEND_MS = 500; // between two pieces of sound

let microphone = null;
let turn = 0; // counts up when a microphone that is being opened is no longer wanted
let sound = { pieces: [], part: 0, sending: null, enough: false };

export function resetVoice() {
  sound = { pieces: [], part: 0, sending: null, enough: false };
  heard({ speech_seconds: 0, enough: false, advice: [], findings: [] }, "");
  at("voice-again").disabled = true;
}

function heard({ speech_seconds: seconds, enough, advice, findings }, text = null) {
  sound.enough = enough;
  at("speech").textContent = Math.floor(seconds);
  at("speech-bar").value = seconds;
  at("to-photographs").disabled = !enough;
  if (text !== null) advise("voice-advice", "", text);
  else if (enough) advise("voice-advice", findings.length ? "bad" : "good", findings.length ? enoughBut(findings[0]) : SAYS.enough);
  else if (findings.includes("not_a_voice")) advise("voice-advice", "bad", VOICE.not_a_voice);
  else if (advice.length) advise("voice-advice", "bad", VOICE[advice[0]]);
  else advise("voice-advice", "good", seconds > 1 ? SAYS.fine : SAYS.listening);
}

const enoughBut = (code) => (code === "child_voice" ? VOICE[code] : `${SAYS.enoughBut} ${VOICE[code]}`);

async function startVoice() {
  const mine = turn;
  const opened = await openMicrophone(
    (buffer, peak) => {
      sound.pieces.push(buffer);
      at("level").style.setProperty("--level", Math.sqrt(peak).toFixed(3));
      at("level").parentElement.dataset.high = peak > 0.98;
    },
    () => {
      stopVoice();
      complain(WRONG.gone);
    },
  );
  if (mine !== turn) {
    await opened.close();
    return;
  }
  microphone = opened;
  recording(true);
  advise("voice-advice", "good", SAYS.listening);
  const rate = microphone.sampleRate;
  sound.sending = sendVoice(rate, microphone);
}

function recording(on) {
  at("record").dataset.on = on;
  at("record-text").textContent = on ? "Pause" : sound.part ? "Go on recording" : "Start recording";
  at("voice-again").disabled = on || !sound.part;
  at("record").hidden = sound.enough && !on; // then there is one thing to do: go on
  if (!on) at("level").style.setProperty("--level", 0);
}

/** Send what was heard, a piece at a time, until the microphone is closed. */
async function sendVoice(rate, open) {
  while (microphone === open || sound.pieces.length) {
    await new Promise((resolve) => setTimeout(resolve, microphone === open ? SEND_MS : 0));
    if (!sound.pieces.length) continue;
    const body = new Blob(sound.pieces, { type: "application/octet-stream" });
    sound.pieces = [];
    const answer = await trying(() => ask(`studio/voice?rate=${rate}&part=${sound.part}`, { method: "POST", body }));
    if (answer === null) {
      await stopVoice();
      return;
    }
    sound.part += 1;
    heard(answer);
    if (answer.enough && microphone === open) stopVoice();
  }
  recording(false);
  if (!sound.enough && document.body.dataset.step === "voice") advise("voice-advice", "", SAYS.paused);
}

export async function stopVoice() {
  const open = microphone;
  microphone = null;
  turn += 1;
  await open?.close();
  recording(false);
}

export async function restartVoice() {
  await stopVoice();
  await sound.sending;
  await ask("studio/voice", { method: "DELETE" });
  resetVoice();
  recording(false);
}

/** Begin to record, or pause. */
export const recordOrPause = () => (microphone ? stopVoice() : startVoice());

whenOver(stopVoice);
