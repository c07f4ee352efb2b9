/** The microphone as frames of mono float32 at the model's rate. */

/** No sound comes; `reason` is blocked, missing, busy, insecure or offline. */
export class MicrophoneRefused extends Error {
  constructor(reason, cause) {
    super(`microphone ${reason}`, { cause });
    this.reason = reason;
  }
}

const REASONS = {
  NotAllowedError: "blocked",
  SecurityError: "blocked",
  NotFoundError: "missing",
  OverconstrainedError: "missing",
};

// A transcript is better from the voice as it is: echo and noise filters eat consonants.
const CONSTRAINTS = {
  audio: {
    channelCount: { ideal: 1 },
    echoCancellation: false,
    noiseSuppression: false,
    autoGainControl: true,
  },
};

export class Microphone {
  /**
   * Ask for the microphone and start it. Call it from a click: browsers keep audio still
   * otherwise. Throws MicrophoneRefused.
   *
   * @param {(frame: Float32Array) => void} onFrame
   * @param {() => void} onEnd after the last frame, whoever ended it
   */
  static async open(onFrame, onEnd) {
    // Outside https and localhost a browser hides the whole interface.
    if (!navigator.mediaDevices || !window.isSecureContext) throw new MicrophoneRefused("insecure");
    // Made while the click counts, or the browser keeps it suspended.
    const context = new AudioContext({ latencyHint: "interactive" });
    try {
      await loadCapture(context);
      const stream = await navigator.mediaDevices.getUserMedia(CONSTRAINTS);
      return new Microphone(context, stream, onFrame, onEnd);
    } catch (error) {
      await context.close();
      if (error instanceof MicrophoneRefused) throw error;
      throw new MicrophoneRefused(REASONS[error.name] ?? "busy", error);
    }
  }

  constructor(context, stream, onFrame, onEnd) {
    this.context = context;
    this.stream = stream;
    this.source = context.createMediaStreamSource(stream);
    this.capture = new AudioWorkletNode(context, "capture");
    this.capture.port.onmessage = ({ data }) => {
      if (data) return onFrame(data);
      this.close();
      onEnd();
    };
    this.source.connect(this.capture);
    // Without a way to the loudspeaker a browser may not run the node. It plays silence.
    this.capture.connect(context.destination);
    // Unplugged, or taken back by the user: what was heard until then is finished.
    for (const track of stream.getTracks()) track.onended = () => this.stop();
    // A phone call suspends the audio; it goes on when the page is looked at again.
    this.resume = () => context.state !== "closed" && context.resume();
    document.addEventListener("visibilitychange", this.resume);
    this.resume();
    // A telephone must not fall asleep while its owner speaks. Refused where power is short.
    this.wakeLock = navigator.wakeLock?.request("screen").catch(() => null);
  }

  /** End after the last frame. */
  stop() {
    this.capture.port.postMessage("stop");
    // The last word is in the worklet; the light on the device goes out now.
    for (const track of this.stream.getTracks()) track.stop();
  }

  /** End at once. */
  close() {
    document.removeEventListener("visibilitychange", this.resume);
    for (const track of this.stream.getTracks()) track.stop();
    this.wakeLock?.then((lock) => lock?.release());
    if (this.context.state !== "closed") this.context.close();
  }
}

async function loadCapture(context) {
  try {
    await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
  } catch (error) {
    throw new MicrophoneRefused("offline", error);
  }
}
