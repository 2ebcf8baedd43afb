// Sound of the microphone, mixed to one channel, as signed 16-bit samples in pieces.

class Capture extends AudioWorkletProcessor {
  constructor({ processorOptions: { piecesPerSecond } }) {
    super();
    this.samples = Math.round(sampleRate / piecesPerSecond);
    this.piece = new Int16Array(this.samples);
    this.filled = 0;
    this.peak = 0;
  }

  process([channels]) {
    const length = channels.length ? channels[0].length : 0;
    for (let index = 0; index < length; index += 1) {
      let sample = 0;
      for (const channel of channels) sample += channel[index] / channels.length;
      this.keep(Math.max(-1, Math.min(1, sample)));
    }
    return true;
  }

  keep(sample) {
    this.peak = Math.max(this.peak, Math.abs(sample));
    this.piece[this.filled] = Math.round(sample * 32767);
    this.filled += 1;
    if (this.filled < this.piece.length) return;
    const sound = this.piece.buffer;
    this.port.postMessage({ sound, peak: this.peak }, [sound]);
    this.piece = new Int16Array(this.samples);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("capture", Capture);
