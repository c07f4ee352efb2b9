/** One take: audio from the microphone or a recording, kept on a tape, streamed and transcribed. */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";
import { Microphone } from "./microphone.js";
import { decodeRecording } from "./recording.js";
import { Stream } from "./stream.js";
import { Tape } from "./tape.js";

/** @typedef {import("./stream.js").StreamEvent | {type: "stopped"}} TakeEvent */

/** How much of a voice is kept while nobody can take it. */
const KEPT_SECONDS = 180;

export class Take {
  /** @type {Microphone | null} */
  #microphone = null;
  /** @type {Stream | null} */
  #stream = null;
  #lastFrameAt = 0;
  #onFrame;
  #tell;

  /**
   * @param {object} options
   * @param {string} options.name of the recording, or empty for the microphone
   * @param {number} options.startSeconds recorded time before this take
   * @param {(frame: Float32Array) => void} options.onFrame called with every 80 ms of audio
   * @param {(event: TakeEvent) => void} options.tell see Stream; `stopped` ends the microphone
   */
  constructor({ name, startSeconds, onFrame, tell }) {
    this.name = name;
    this.startSeconds = startSeconds;
    this.#onFrame = onFrame;
    this.#tell = tell;
    this.tape = new Tape(name ? Infinity : KEPT_SECONDS * MODEL_RATE_HZ);
    this.isEnding = false;
  }

  /** Seconds of audio so far. */
  get seconds() {
    return this.tape.end / MODEL_RATE_HZ;
  }

  /** Seconds from the start of the take up to which the text is complete. */
  get writtenSeconds() {
    return this.#stream ? this.#stream.writtenSeconds - this.startSeconds : 0;
  }

  get lagSeconds() {
    return this.#stream?.lagSeconds ?? 0;
  }

  /** Throws MicrophoneRefused. */
  async openMicrophone() {
    this.#microphone = await Microphone.open({
      onFrame: (frame) => {
        this.tape.append(frame);
        this.#lastFrameAt = performance.now();
        this.#onFrame(frame);
        this.#stream?.pump();
      },
      onEnd: () => {
        this.isEnding = true;
        this.tape.complete = true;
        this.#tell({ type: "stopped" });
        this.#stream?.pump();
      },
    });
  }

  /**
   * Throws UnreadableRecording.
   *
   * @param {File} file
   */
  async openRecording(file) {
    const audio = await decodeRecording(file);
    for (let at = 0; at < audio.length; at += FRAME_SAMPLES) {
      this.#onFrame(audio.subarray(at, at + FRAME_SAMPLES));
    }
    this.tape.append(audio);
    this.tape.complete = true;
  }

  /**
   * @param {string} url
   * @param {import("./transcript.js").Transcript} transcript
   */
  connect(url, transcript) {
    const { tape, startSeconds } = this;
    this.#stream = new Stream({ url, tape, transcript, startSeconds, tell: this.#tell });
  }

  /**
   * How long ago a moment of recorded time was spoken, in seconds.
   *
   * @param {number} moment
   */
  behind(moment) {
    const sinceFrame = (performance.now() - this.#lastFrameAt) / 1000;
    return this.startSeconds + this.seconds + sinceFrame - moment;
  }

  /** Take no more audio; the words of what there is still come. */
  stop() {
    this.isEnding = true;
    if (this.#microphone) this.#microphone.stop();
    else this.#stream?.cut();
  }

  /** Leave everything at once. */
  abandon() {
    this.#microphone?.close();
    this.#stream?.abandon();
  }
}
