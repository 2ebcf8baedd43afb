// The box beside the buttons that says what went wrong, and the question for a token.

import { Refused, useToken } from "./service.js";
import { ofClose, ofMicrophone, ofRefusal } from "./texts.js";
import { MicrophoneRefused } from "./microphone.js";

const at = (id) => document.getElementById(id);

export class Notices {
  constructor({ onToken }) {
    at("message-close").addEventListener("click", () => {
      this.hide();
      at("speak").focus();
    });
    at("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      useToken(at("token").value);
      at("token").value = "";
      at("token-form").hidden = true;
      this.hide();
      onToken();
    });
  }

  show([title, text]) {
    at("message-title").textContent = title;
    at("message-text").textContent = text;
    at("message").hidden = false;
    at("message").scrollIntoView({ block: "nearest" });
  }

  hide() {
    at("message").hidden = true;
  }

  /** A session that ended, a request that was refused, a microphone that was not given. */
  explain(error) {
    if (error instanceof MicrophoneRefused) this.show(ofMicrophone(error.code));
    else if (!(error instanceof Refused)) throw error;
    else if (error.status === 401 || error.status === 4401) this.askForToken();
    else this.show(error.status >= 1000 ? ofClose(error) : ofRefusal(error));
  }

  askForToken() {
    at("token-form").hidden = false;
    at("token").focus();
  }
}
