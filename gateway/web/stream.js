/**
 * One take on its way to the service: sends the tape, writes what comes back into the transcript,
 * and when the connection breaks sends again what is not settled (replay.js).
 *
 * What a stream tells: `ping` the service is starting · `ready` it listens · `progress` it has
 * heard more · `lost` the connection broke and is tried again · `idle` it was closed for want of
 * audio, and opens when some comes · and last, one of `done`, `full`, `refused`, `gone`.
 *
 * @typedef {{type: "ping" | "ready" | "lost" | "idle"}
 *   | {type: "progress", began: number | null}
 *   | {type: "done" | "full" | "refused" | "gone", message: string}} StreamEvent `began` is the
 *   recorded time at which a word began that has its first text now
 */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";
import { END, classifyClose, parseMessage } from "./protocol.js";
import { Replay, wholeFrames } from "./replay.js";

/** Half a second of audio in one message, at most: 46 KB. An edge may refuse more than 2 MiB. */
const MESSAGE_SAMPLES = 6 * FRAME_SAMPLES;
/** Ten seconds of audio: enough for a timer that a hidden page gets once a second. */
const MAX_BUFFERED_BYTES = 10 * MODEL_RATE_HZ * Float32Array.BYTES_PER_ELEMENT;
const BUFFER_CHECK_MS = 20;
const RETRY_MS = [300, 600, 1_200, 2_400];
const MAX_RETRY_MS = 4_000;
const PATIENCE_MS = 180_000;
/** What the model hears again before the first word that was not settled. */
const CONTEXT_SECONDS = 3;

export class Stream {
  #url;
  #tape;
  #transcript;
  #startSeconds;
  #tell;
  #replay = new Replay();
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {Set<ReturnType<typeof setTimeout>>} */
  #timers = new Set();
  #admitted = false;
  #ended = false;
  #over = false;
  /** @type {{message: string, reason?: string}} */
  #failure = { message: "" };
  #retries = 0;
  /** @type {number | null} */
  #lostAt = null;
  /** Position up to which the tape is sent. */
  #cursor = 0;
  #isBufferFull = false;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {import("./tape.js").Tape} options.tape
   * @param {import("./transcript.js").Transcript} options.transcript
   * @param {number} options.startSeconds recorded time of the takes before this one
   * @param {(event: StreamEvent) => void} options.tell
   */
  constructor({ url, tape, transcript, startSeconds, tell }) {
    this.#url = url;
    this.#tape = tape;
    this.#transcript = transcript;
    this.#startSeconds = startSeconds;
    this.#tell = tell;
    /** Recorded time up to which the text is complete. */
    this.writtenSeconds = startSeconds;
    /** Seconds of audio that the service holds and has not heard yet. */
    this.lagSeconds = 0;
    this.#open(false);
  }

  /** Send what is new on the tape, and its end, as fast as the connection takes it. */
  pump() {
    if (!this.#socket) return this.#wake();
    if (this.#socket.readyState !== WebSocket.OPEN || this.#ended || this.#isBufferFull) return;
    while (this.#cursor < this.#tape.end) {
      if (this.#socket.bufferedAmount > MAX_BUFFERED_BYTES) return this.#pumpLater();
      this.#sendPiece(this.#socket);
    }
    if (this.#tape.complete) {
      this.#socket.send(END);
      this.#ended = true;
    }
  }

  /** Send nothing more than was sent already, and wait for its words. */
  cut() {
    this.#tape.cut(this.#cursor);
    this.pump();
  }

  /** Leave at once. */
  abandon() {
    this.#over = true;
    this.#timers.forEach(clearTimeout);
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  /**
   * Connect, and send the tape from where the transcript wants it.
   *
   * @param {boolean} isBroken whether the connection before this one broke
   */
  #open(isBroken) {
    const wanted = wholeFrames(this.#replay.findRestart(CONTEXT_SECONDS));
    this.#cursor = Math.max(wanted, this.#tape.start);
    this.#replay.begin(this.#cursor / MODEL_RATE_HZ, isBroken && this.#replay.wasAdmitted);
    this.#admitted = this.#ended = false;
    this.#failure = { message: "" };
    const socket = new WebSocket(this.#url);
    socket.onopen = () => this.pump();
    socket.onmessage = ({ data }) => this.#receive(parseMessage(data));
    socket.onclose = (closing) => this.#afterClose(closing);
    this.#socket = socket;
  }

  #pumpLater() {
    this.#isBufferFull = true;
    this.#after(BUFFER_CHECK_MS, () => {
      this.#isBufferFull = false;
      this.pump();
    });
  }

  /** @param {WebSocket} socket */
  #sendPiece(socket) {
    // Nobody took the audio for so long that its oldest part is gone.
    const gone = Math.max(0, this.#tape.start - this.#cursor);
    this.#replay.skip(gone / MODEL_RATE_HZ);
    this.#cursor += gone;
    const audio = this.#tape.read(this.#cursor, MESSAGE_SAMPLES);
    socket.send(audio);
    this.#cursor += audio.length;
  }

  /** @param {import("./protocol.js").ServerMessage} message */
  #receive(message) {
    if (message.type === "error") this.#failure = message;
    let began = null;
    for (const told of this.#replay.accept(message)) {
      this.#write(told);
      if (told.type === "token") began = this.#startSeconds + told.start;
    }
    if (this.#admitted) this.#noteProgress(message.lag, began);
  }

  /** @param {import("./replay.js").Told} told */
  #write(told) {
    const zero = this.#startSeconds;
    switch (told.type) {
      case "ready":
      case "reconnected":
        this.#admitted = true;
        this.#retries = 0;
        this.#lostAt = null;
        this.#tell({ type: "ready" });
        break;
      case "token":
        this.#transcript.addToken(told.text, zero + told.start);
        break;
      case "word":
        this.#transcript.addWord({
          text: told.text,
          start: zero + told.start,
          end: zero + told.end,
        });
        break;
      case "vad_end":
        this.#transcript.addPause(zero + told.offset);
        break;
      case "ping":
        if (!this.#admitted) this.#tell({ type: "ping" });
        break;
    }
  }

  /**
   * @param {number | undefined} lag
   * @param {number | null} began
   */
  #noteProgress(lag, began) {
    this.lagSeconds = lag ?? this.lagSeconds;
    const written = this.#startSeconds + this.#replay.written;
    this.writtenSeconds = Math.max(this.writtenSeconds, written);
    // Just after a replay began, what is settled may lie ahead of what is sent.
    const settled = wholeFrames(this.#replay.findRestart(CONTEXT_SECONDS));
    this.#tape.forget(Math.min(settled, this.#cursor));
    this.#tell({ type: "progress", began });
  }

  /** @param {CloseEvent} closing */
  #afterClose(closing) {
    this.#socket = null;
    const { reason } = this.#failure;
    const outcome = classifyClose(closing.code, {
      ended: this.#ended,
      admitted: this.#admitted,
      reason,
    });
    if (outcome === "lost" || (outcome === "full" && this.#lostAt !== null)) {
      return this.#tryAgain();
    }
    if (outcome === "done" || outcome === "idle") this.#noteAllWritten();
    if (outcome === "idle") return this.#tell({ type: "idle" });
    this.#over = true;
    this.#tell({ type: outcome, message: this.#failure.message });
  }

  /** The service has said its last word on all that was sent. */
  #noteAllWritten() {
    const seconds = this.#cursor / MODEL_RATE_HZ;
    for (const word of this.#replay.settle(seconds)) this.#write(word);
    this.writtenSeconds = this.#startSeconds + seconds;
  }

  #tryAgain() {
    const now = performance.now();
    this.#lostAt ??= now;
    if (now - this.#lostAt > PATIENCE_MS) {
      this.#over = true;
      return this.#tell({ type: "gone", message: this.#failure.message });
    }
    this.#tell({ type: "lost" });
    // Not all pages of a restarted service at the same moment.
    const pause = RETRY_MS[this.#retries] ?? MAX_RETRY_MS;
    this.#retries += 1;
    this.#after(pause * (0.75 + 0.5 * Math.random()), () => this.#open(true));
  }

  /** Without a connection and nobody to make one, unsent audio makes one. */
  #wake() {
    if (this.#over || this.#lostAt !== null) return;
    if (this.#cursor < this.#tape.end) return this.#open(false);
    if (!this.#tape.complete) return;
    this.#over = true;
    this.#tell({ type: "done", message: "" });
  }

  /**
   * @param {number} milliseconds
   * @param {() => void} action
   */
  #after(milliseconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }
}
