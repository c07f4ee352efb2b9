/**
 * The audio thread's part: any number of channels at the device's rate become mono frames at the
 * model's rate. Posts Float32Arrays; told to stop, it posts what is left and then null.
 */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";
import { Resampler } from "./resampler.js";

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(Math.round(sampleRate), MODEL_RATE_HZ);
    this.frame = new Float32Array(FRAME_SAMPLES);
    this.filled = 0;
    this.running = true;
    this.port.onmessage = () => this.stop();
  }

  process([channels], [[silence]]) {
    // A muted device has no channels, yet its time passes: silence of the same length.
    if (this.running) this.collect(this.resampler.push(channels.length ? mix(channels) : silence));
    return this.running;
  }

  collect(samples) {
    for (let taken = 0; taken < samples.length; ) {
      const piece = samples.subarray(taken, taken + FRAME_SAMPLES - this.filled);
      this.frame.set(piece, this.filled);
      this.filled += piece.length;
      taken += piece.length;
      if (this.filled === FRAME_SAMPLES) this.postFrame();
    }
  }

  postFrame() {
    const frame = this.frame.slice(0, this.filled);
    this.port.postMessage(frame, [frame.buffer]);
    this.filled = 0;
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    this.collect(this.resampler.finish());
    if (this.filled) this.postFrame();
    this.port.postMessage(null);
  }
}

function mix(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, c) => sum + c[i], 0) / channels.length);
}

registerProcessor("capture", Capture);
