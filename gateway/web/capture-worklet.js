/**
 * The audio thread's part: any number of channels at the device's rate become mono frames at the
 * model's rate. Posts Float32Arrays; told to stop, it posts what is left and then null.
 */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";
import { Mixer } from "./mix.js";
import { Resampler } from "./resampler.js";

/**
 * What an audio thread has, and TypeScript's libraries do not describe.
 *
 * @typedef {object} AudioThread
 * @property {number} sampleRate
 * @property {new () => {readonly port: MessagePort}} AudioWorkletProcessor
 * @property {(name: string, processor: new () => object) => void} registerProcessor
 */
const { AudioWorkletProcessor, registerProcessor, sampleRate } = /** @type {AudioThread} */ (
  /** @type {unknown} */ (globalThis)
);

class Capture extends AudioWorkletProcessor {
  #mixer = new Mixer(sampleRate);
  #resampler = new Resampler(Math.round(sampleRate), MODEL_RATE_HZ);
  #frame = new Float32Array(FRAME_SAMPLES);
  #filled = 0;
  #running = true;

  constructor() {
    super();
    this.port.onmessage = () => this.#stop();
  }

  /**
   * @param {Float32Array[][]} inputs one input with any number of channels
   * @param {Float32Array[][]} outputs one output, silent
   */
  process([channels], [[silence]]) {
    // A muted device has no channels, yet its time passes: silence of the same length.
    const samples = channels.length ? this.#mixer.mix(channels) : silence;
    if (this.#running) this.#collect(this.#resampler.push(samples));
    return this.#running;
  }

  /** @param {Float32Array} samples */
  #collect(samples) {
    for (let taken = 0; taken < samples.length; ) {
      const piece = samples.subarray(taken, taken + FRAME_SAMPLES - this.#filled);
      this.#frame.set(piece, this.#filled);
      this.#filled += piece.length;
      taken += piece.length;
      if (this.#filled === FRAME_SAMPLES) this.#postFrame();
    }
  }

  #postFrame() {
    const frame = this.#frame.slice(0, this.#filled);
    this.port.postMessage(frame, [frame.buffer]);
    this.#filled = 0;
  }

  #stop() {
    if (!this.#running) return;
    this.#running = false;
    this.#collect(this.#resampler.finish());
    if (this.#filled) this.#postFrame();
    this.port.postMessage(null);
  }
}

registerProcessor("capture", Capture);
