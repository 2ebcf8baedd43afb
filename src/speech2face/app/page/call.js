// One side of a call: a microphone goes to the service over WebRTC, a face comes back as video.

import { ask, Refused, useToken } from "./service.js";

const at = (id) => document.getElementById(id);
const POLL_MS = 1000; // between looks at what is believed
const GATHERING_MS = 2000; // for the addresses of this machine; more take longer than they are worth

const inAddress = new URLSearchParams(location.hash.slice(1));
const call = /^[\w.:-]{1,64}$/.test(inAddress.get("call") ?? "") ? inAddress.get("call") : crypto.randomUUID();
history.replaceState(null, "", `${location.pathname}#call=${call}`);

let side = null; // {connection, microphone, peer, sees, asking}
let polling = null;
let again = null; // what to do once a token is there
let turn = 0; // counts up when what is being joined is no longer wanted
let looking = false;

at("name").textContent = call;
at("other").href = `${location.pathname}#call=${call}`;

function say(state, text) {
  document.body.dataset.state = state;
  at("service").dataset.state = state;
  at("state").textContent = text;
  const inside = state === "calling" || state === "connected";
  at("speak").disabled = at("look").disabled = inside;
  at("leave").disabled = !inside;
  for (const choice of document.querySelectorAll(".sees input")) choice.disabled = inside;
}

function complain(title, text) {
  at("message-title").textContent = title;
  at("message-text").textContent = text;
  at("message").hidden = false;
}

async function openMicrophone() {
  if (!navigator.mediaDevices) {
    throw new Refused(-1, "insecure", "A browser gives the microphone to https and localhost alone. Open the page there.");
  }
  try {
    return await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    const text =
      error.name === "NotAllowedError"
        ? "The microphone was refused. Allow it in the browser’s settings for this page, or join and look."
        : "No microphone was found, or another program has it. You can join and look.";
    throw new Refused(-1, "microphone", text);
  }
}

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    setTimeout(resolve, GATHERING_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete") resolve();
    });
  });
}

async function join(speaks) {
  at("message").hidden = at("token-form").hidden = true;
  say("calling", "Calling");
  turn += 1;
  const mine = turn;
  const stillWanted = () => {
    if (mine !== turn) throw new Refused(-1, "left", "Left.");
  };
  let microphone = null;
  let connection = null;
  try {
    const { ice_servers: iceServers } = await ask("v1/webrtc");
    stillWanted();
    if (speaks) microphone = await openMicrophone();
    stillWanted();
    connection = new RTCPeerConnection({ iceServers });
    const asking = new AbortController(); // who leaves before the answer frees its place in the call at once
    side = { connection, microphone, asking, peer: null, sees: document.querySelector("[name=sees]:checked").value };
    for (const track of microphone?.getTracks() ?? []) connection.addTrack(track, microphone);
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addEventListener("track", ({ track }) => {
      if (track.kind === "video") at("face").srcObject = new MediaStream([track]);
    });
    connection.addEventListener("connectionstatechange", () => changed(connection));
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    stillWanted();
    const { sdp } = connection.localDescription;
    const style = document.querySelector("[name=style]:checked").value;
    const body = JSON.stringify({ type: "offer", sdp, call, sees: side.sees, style, motion: true });
    const answer = await ask("v1/webrtc/offer", { method: "POST", body, signal: asking.signal });
    stillWanted();
    side.peer = answer.peer;
    await connection.setRemoteDescription({ type: "answer", sdp: answer.sdp });
  } catch (error) {
    for (const track of microphone?.getTracks() ?? []) track.stop();
    connection?.close();
    if (mine !== turn) return; // left meanwhile, as the page says
    side = null;
    say("failed", "Not in the call");
    if (error.status === 401) {
      again = () => join(speaks);
      at("token-form").hidden = false;
      at("token").focus();
    } else complain("You could not join", error.message);
  }
}

function changed(connection) {
  if (side?.connection !== connection) return;
  if (connection.connectionState === "connected") {
    say("connected", side.microphone ? "In the call, speaking" : "In the call, looking");
    clearInterval(polling);
    polling = setInterval(look, POLL_MS);
  } else if (connection.connectionState === "failed") {
    leave("failed", "The connection was lost");
    complain("The connection was lost", "The service could not be reached any more, or ended the call. Join again.");
  }
}

/** What is believed of the voice whose face is shown. */
async function look() {
  const now = side;
  if (!now || looking) return; // one question at a time, also where the network is slow
  looking = true;
  const { tracks } = await ask(`v1/calls/${call}`).catch(() => ({ tracks: {} }));
  looking = false;
  const name = Object.keys(tracks).find((each) => (each === now.peer) === (now.sees === "own"));
  at("heard").textContent = now === side && tracks[name]?.facts ? inWords(tracks[name].facts) : "";
}

function inWords({ seconds_heard: seconds, age, age_interval_80: interval, gender }) {
  const heard = `${seconds.toFixed(1)} s of speech heard`;
  if (age === undefined || !gender) return heard;
  const years = `about ${Math.round(age)} (${Math.round(interval[0])} to ${Math.round(interval[1])})`;
  return `${heard}; read as ${gender.text}, ${years}`;
}

function leave(state = "idle", text = "Not in the call") {
  turn += 1;
  clearInterval(polling);
  for (const track of side?.microphone?.getTracks() ?? []) track.stop();
  side?.asking.abort();
  side?.connection.close();
  side = null;
  at("face").srcObject = null;
  at("heard").textContent = "";
  say(state, text);
}

at("speak").addEventListener("click", () => join(true));
at("look").addEventListener("click", () => join(false));
at("leave").addEventListener("click", () => {
  leave();
  at("speak").focus();
});
at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useToken(at("token").value);
  at("token").value = "";
  again?.();
});
addEventListener("pagehide", () => leave());
