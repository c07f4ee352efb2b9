/** The microphone as frames of mono float32 at the model's rate. */

/** @typedef {"blocked" | "missing" | "busy" | "insecure" | "offline"} Reason */

/** There is no audio, for a reason. */
export class MicrophoneRefused extends Error {
  /**
   * @param {Reason} reason
   * @param {unknown} [cause]
   */
  constructor(reason, cause) {
    super(`microphone ${reason}`, { cause });
    this.reason = reason;
  }
}

/** @type {Record<string, Reason>} what the browser's own errors mean */
const REASONS = {
  NotAllowedError: "blocked",
  SecurityError: "blocked",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
};

// The model hears the voice as it is: echo and noise filters remove consonants.
const CONSTRAINTS = {
  audio: {
    channelCount: { ideal: 1 },
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: true,
  },
};

/**
 * @typedef {object} Listener
 * @property {(frame: Float32Array<ArrayBuffer>) => void} onFrame
 * @property {() => void} onEnd after the last frame, whoever ended it
 */

export class Microphone {
  #context;
  #stream;
  #source;
  #capture;
  #resume;
  #wakeLock;

  /**
   * Ask for the microphone and start it. Call it from a click: browsers suspend audio otherwise.
   * Throws MicrophoneRefused.
   *
   * @param {Listener} listener
   */
  static async open(listener) {
    // Outside https and localhost a browser hides the whole interface.
    if (!navigator.mediaDevices || !window.isSecureContext) throw new MicrophoneRefused("insecure");
    // Made while the click counts, or the browser keeps it suspended.
    const context = new AudioContext({ latencyHint: "interactive" });
    try {
      await loadCapture(context);
      const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
      return new Microphone(context, stream, listener);
    } catch (error) {
      await context.close();
      if (error instanceof MicrophoneRefused) throw error;
      const name = error instanceof DOMException ? error.name : "";
      throw new MicrophoneRefused(REASONS[name] ?? "busy", error);
    }
  }

  /**
   * @param {AudioContext} context
   * @param {MediaStream} stream
   * @param {Listener} listener
   */
  constructor(context, stream, { onFrame, onEnd }) {
    this.#context = context;
    this.#stream = stream;
    this.#capture = new AudioWorkletNode(context, "capture");
    this.#capture.port.onmessage = ({ data }) => {
      if (data) return onFrame(data);
      this.close();
      onEnd();
    };
    this.#source = context.createMediaStreamSource(stream);
    this.#source.connect(this.#capture);
    // A browser may not run a node that leads nowhere. This one plays silence.
    this.#capture.connect(context.destination);
    // Unplugged, or permission withdrawn: the words of what was heard still come.
    for (const track of stream.getTracks()) track.onended = () => this.stop();
    // A phone call suspends the audio; it resumes when the page is visible again.
    this.#resume = () => {
      if (context.state !== "closed") void context.resume();
    };
    document.addEventListener("visibilitychange", this.#resume);
    this.#resume();
    // A phone must not go to sleep while its owner speaks. Refused when the battery is low.
    this.#wakeLock = navigator.wakeLock?.request("screen").catch(() => null);
  }

  /** End after the last frame. */
  stop() {
    this.#capture.port.postMessage("stop");
    // The worklet still holds the last audio; the device's own light goes out now.
    for (const track of this.#stream.getTracks()) track.stop();
  }

  /** End at once. */
  close() {
    this.#source.disconnect();
    document.removeEventListener("visibilitychange", this.#resume);
    for (const track of this.#stream.getTracks()) track.stop();
    this.#wakeLock?.then((lock) => lock?.release());
    if (this.#context.state !== "closed") this.#context.close();
  }
}

/** @param {AudioContext} context */
async function loadCapture(context) {
  try {
    await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
  } catch (error) {
    throw new MicrophoneRefused("offline", error);
  }
}
