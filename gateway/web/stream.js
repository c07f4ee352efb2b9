/**
 * One take on its way to the service: sends the tape, writes what comes back into the transcript,
 * and when the connection breaks goes on from the last whole word.
 */
import { MODEL_RATE_HZ } from "./audio-format.js";
import { END, classifyClose, parseMessage } from "./protocol.js";

/** Half a second of audio in one message, at most. */
const MESSAGE_SAMPLES = MODEL_RATE_HZ / 2;
/** Ten seconds of audio: enough for a timer that a hidden page gets once a second. */
const MOST_BUFFERED_BYTES = 10 * MODEL_RATE_HZ * Float32Array.BYTES_PER_ELEMENT;
const BUFFER_CHECK_MS = 20;
const RETRY_MS = [300, 600, 1_200, 2_400, 4_000];
const PATIENCE_MS = 180_000;
/** A word may begin this much before the text says so. */
const WORD_MARGIN_SECONDS = 0.5;

/**
 * What a stream tells, in `tell(event, detail)`:
 * `ping` the service is starting · `ready` it listens · `progress` it has heard more, and said
 * something or not · `lost` the connection broke and is tried again · `idle` it was closed for want
 * of audio, and opens when some comes · and last, one of `done`, `full`, `refused`, `gone`.
 */
export class Stream {
  #socket = null;
  #timers = new Set();
  #admitted = false;
  #ended = false;
  #over = false;
  #failure = "";
  #retries = 0;
  #lostAt = null;
  /** Tape positions: where this connection began, what is sent, what need not be sent again. */
  #base = 0;
  #cursor = 0;
  #settled = 0;
  #delay = 0;

  /** @param {number} startSeconds recorded time of the takes before this one */
  constructor({ url, tape, transcript, startSeconds, tell }) {
    Object.assign(this, { url, tape, transcript, startSeconds, tell });
    /** Recorded time up to which the text is complete. */
    this.writtenSeconds = startSeconds;
    /** Seconds of audio that the service holds and has not heard yet. */
    this.lagSeconds = 0;
    this.open();
  }

  /** Connect, and send the tape from the end of what is written. */
  open() {
    this.#base = this.#cursor = this.#settled;
    this.#admitted = this.#ended = false;
    this.#failure = "";
    const socket = new WebSocket(this.url);
    socket.onopen = () => this.pump();
    socket.onmessage = ({ data }) => this.#receive(parseMessage(data));
    socket.onclose = (closing) => this.#afterClose(closing);
    this.#socket = socket;
  }

  /** Send what is new on the tape, and its end, as fast as the connection takes it. */
  pump() {
    if (!this.#socket) return this.#wake();
    if (this.#socket.readyState !== WebSocket.OPEN || this.#ended) return;
    while (this.#cursor < this.tape.end) {
      if (this.#socket.bufferedAmount > MOST_BUFFERED_BYTES) {
        return this.#after(BUFFER_CHECK_MS, () => this.pump());
      }
      this.#sendPiece();
    }
    if (this.tape.complete) {
      this.#socket.send(END);
      this.#ended = true;
    }
  }

  /** Send nothing more than was sent already, and wait for its words. */
  cut() {
    this.tape.cut(this.#cursor);
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

  /** Recorded time of a position in this connection's audio. */
  #time(offset) {
    return this.startSeconds + this.#base / MODEL_RATE_HZ + offset;
  }

  #sendPiece() {
    // Nobody could take the audio for so long that its oldest part is gone.
    const gone = Math.max(0, this.tape.start - this.#cursor);
    this.#base += gone;
    this.#cursor += gone;
    const audio = this.tape.read(this.#cursor, MESSAGE_SAMPLES);
    this.#socket.send(audio);
    this.#cursor += audio.length;
  }

  #receive(message) {
    switch (message.type) {
      case "ready":
        this.#beginAnew(message);
        break;
      case "token":
        this.transcript.addToken(message.text, this.#time(message.start));
        break;
      case "word": {
        const { text, start, end } = message;
        this.transcript.addWord({ text, start: this.#time(start), end: this.#time(end) });
        break;
      }
      case "vad_end":
        this.transcript.addPause(this.#time(message.offset));
        break;
      case "ping":
        if (!this.#admitted) this.tell("ping");
        break;
      case "error":
        this.#failure = message.message;
        break;
    }
    if (this.#admitted) this.#noteProgress(message);
  }

  #beginAnew({ delay }) {
    this.#admitted = true;
    this.#delay = delay;
    this.#retries = 0;
    this.#lostAt = null;
    // What had no word yet is being sent again and comes again.
    this.transcript.rewind();
    this.tell("ready");
  }

  #noteProgress({ type, processed, lag, start }) {
    this.lagSeconds = lag ?? this.lagSeconds;
    const written = this.#time(Math.max(0, (processed ?? 0) - this.#delay));
    this.writtenSeconds = Math.max(this.writtenSeconds, written);
    this.#settle();
    this.tell("progress", { began: type === "token" ? this.#time(start) : null });
  }

  #settle() {
    const { settledSeconds, hasWetInk } = this.transcript;
    const silent = hasWetInk ? 0 : this.writtenSeconds - WORD_MARGIN_SECONDS;
    const seconds = Math.max(settledSeconds, silent) - this.startSeconds;
    const position = Math.round(seconds * MODEL_RATE_HZ);
    this.#settled = Math.max(this.#settled, Math.min(position, this.#cursor));
    this.tape.forget(this.#settled);
  }

  #afterClose(closing) {
    this.#socket = null;
    const outcome = classifyClose(closing, { ended: this.#ended, admitted: this.#admitted });
    const waits = outcome === "lost" || (outcome === "full" && this.#lostAt !== null);
    if (waits) return this.#tryAgain();
    if (outcome === "done" || outcome === "idle") this.#noteAllWritten();
    this.#over = outcome !== "idle";
    this.tell(outcome, this.#failure);
  }

  /** The service has said its last word on all that was sent. */
  #noteAllWritten() {
    this.#settled = this.#cursor;
    this.writtenSeconds = this.startSeconds + this.#cursor / MODEL_RATE_HZ;
  }

  #tryAgain() {
    const now = performance.now();
    this.#lostAt ??= now;
    if (now - this.#lostAt > PATIENCE_MS) {
      this.#over = true;
      return this.tell("gone", this.#failure);
    }
    this.tell("lost", this.#failure);
    // Not all pages of a restarted service at the same moment.
    const pause = RETRY_MS[Math.min(this.#retries, RETRY_MS.length - 1)];
    this.#retries += 1;
    this.#after(pause * (0.75 + 0.5 * Math.random()), () => this.open());
  }

  /** Without a connection and nobody to make one, unsent audio makes one. */
  #wake() {
    if (this.#over || this.#lostAt !== null) return;
    if (this.#cursor < this.tape.end) return this.open();
    if (!this.tape.complete) return;
    this.#over = true;
    this.tell("done");
  }

  #after(milliseconds, action) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      action();
    }, milliseconds);
    this.#timers.add(timer);
  }
}
