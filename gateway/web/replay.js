/**
 * One transcript out of several connections: no word lost, none doubled. The rules and the reasons
 * are in docs/replay.md; client/rpc/replay.py follows the same ones, and the vectors in
 * tests/vectors/replay.json hold both to them.
 *
 * @typedef {import("./protocol.js").ServerMessage} ServerMessage
 * @typedef {import("./protocol.js").TokenMessage} TokenMessage
 * @typedef {import("./protocol.js").WordMessage} WordMessage
 * @typedef {import("./protocol.js").FinalMessage} FinalMessage
 * @typedef {import("./protocol.js").Word} Word
 *
 * @typedef {{type: "reconnected", from: number}} Reconnected the connection had broken, and the
 *   audio was sent again from this time on
 * @typedef {{type: "final", audio_duration: number}} Ended
 * @typedef {Exclude<ServerMessage, FinalMessage> | Reconnected | Ended} Told
 *
 * A word as far as it was told; `end` is null until it was told whole.
 * @typedef {{start: number, text: string, end: number | null}} HeardWord
 *
 * A word of the present connection: which told word it is (null: one that is to be swallowed),
 * how much of its text was told before, and its text so far.
 * @typedef {{start: number, heard: HeardWord | null, repeated: string, text: string}} Incoming
 */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";

const REPEAT_TOLERANCE_SECONDS = 0.4;
const SKIP_COST_SECONDS = 0.16;
const NEW_WORD_MARGIN_SECONDS = 0.2;
const SETTLE_MARGIN_SECONDS = 0.5;
const SMALLEST_GAP_SECONDS = 0.08;
/** Float64 cannot say every frame border exactly: this near counts as reached. */
const BORDER_TOLERANCE_FRAMES = 1e-6;

/** Merges the messages of successive connections; knows where a replay may start. */
export class Replay {
  #delay = 0;
  #restart = 0;
  #base = 0;
  #isBroken = false;
  #toldUntil = 0;
  #wordsOfConnection = 0;
  /** @type {HeardWord[]} */
  #heard = [];
  /** @type {HeardWord[]} */
  #expected = [];
  /** @type {Incoming | null} */
  #current = null;
  /** @type {Incoming[]} */
  #awaitingWord = [];

  constructor() {
    /** Audio that a model has heard, in seconds. */
    this.processed = 0;
    /** Whether any connection was admitted. */
    this.wasAdmitted = false;
  }

  /** Seconds up to which all text has come. */
  get written() {
    return Math.max(0, this.processed - this.#delay);
  }

  /**
   * A connection starts.
   *
   * @param {number} base where its audio begins, in seconds
   * @param {boolean} isBroken whether the one before it broke
   */
  begin(base, isBroken) {
    this.#base = base;
    this.#isBroken = isBroken;
    this.#expected = this.#heard.filter(({ start }) => start >= base - NEW_WORD_MARGIN_SECONDS);
    this.#current = null;
    this.#awaitingWord = [];
    this.#wordsOfConnection = 0;
    this.#toldUntil = this.processed;
  }

  /** @param {number} seconds of audio that this connection is not going to hear */
  skip(seconds) {
    this.#base += seconds;
  }

  /**
   * What is to be told of one message, in the clock of the take.
   *
   * @param {ServerMessage} message
   * @returns {Told[]}
   */
  accept(message) {
    this.processed = Math.max(this.processed, (message.processed ?? 0) + this.#base);
    switch (message.type) {
      case "ready":
        return [this.#acceptReady(message)];
      case "token":
        return this.#acceptToken(message);
      case "word":
        this.#wordsOfConnection += 1;
        return this.#acceptWord(message);
      case "final":
        return this.#acceptFinal(message);
      case "vad_end": {
        const offset = message.offset + this.#base;
        // What lies before the break was told before the break.
        if (this.#isBroken && offset <= this.#toldUntil) return [];
        return [{ ...message, offset }];
      }
      default:
        return [message];
    }
  }

  /**
   * From where the audio must be heard again if the connection broke now. Never earlier than it
   * was: what was settled stays settled.
   *
   * @param {number} context seconds of audio that the model is to hear before it matters
   */
  findRestart(context) {
    let settled = this.processed - this.#delay - SETTLE_MARGIN_SECONDS;
    const last = this.#heard.at(-1);
    if (last) settled = last.end === null ? last.start : Math.max(settled, last.start);
    this.#restart = Math.max(this.#restart, this.#moveIntoGap(settled - context));
    return this.#restart;
  }

  /**
   * All words of the audio before this time were told: none of it is heard again.
   *
   * @param {number} seconds
   * @returns {WordMessage[]} words that were begun and that nobody brought to an end
   */
  settle(seconds) {
    const unfinished = this.#closeUnfinished(seconds);
    this.#restart = Math.max(this.#restart, seconds);
    this.#heard = [];
    return unfinished;
  }

  /** @param {number} time to be moved before the word that is spoken then, if there is one */
  #moveIntoGap(time) {
    for (let index = this.#heard.length - 1; index >= 0; index -= 1) {
      const word = this.#heard[index];
      if (word.start - SMALLEST_GAP_SECONDS > time) continue;
      if (word.end !== null && word.end + SMALLEST_GAP_SECONDS < time) return time;
      if (index === 0) return word.start - NEW_WORD_MARGIN_SECONDS;
      const before = this.#heard[index - 1];
      return ((before.end ?? before.start) + word.start) / 2;
    }
    return time;
  }

  /** @param {import("./protocol.js").ReadyMessage} ready */
  #acceptReady(ready) {
    this.#delay = ready.delay;
    this.wasAdmitted = true;
    /** @type {Reconnected} */
    const reconnected = { type: "reconnected", from: this.#base };
    return this.#isBroken ? reconnected : ready;
  }

  /** @param {TokenMessage} token @returns {TokenMessage[]} */
  #acceptToken(token) {
    const start = token.start + this.#base;
    if (!this.#current || token.text.startsWith(" ") || start !== this.#current.start) {
      this.#current = this.#recognize(token.text.trim(), start);
      this.#awaitingWord.push(this.#current);
    }
    const { heard } = this.#current;
    this.#current.text += token.text;
    // A word that was told whole stays as it is; a longer reading of it comes too late.
    if (heard === null || heard.end !== null) return [];
    const text = cutRepeated(this.#current, token.text);
    if (!text) return [];
    heard.text += text;
    return [{ ...token, text, start: heard.start }];
  }

  /**
   * Whether a word that begins is a repeat, misheard context, or new.
   *
   * @param {string} text
   * @param {number} start
   * @returns {Incoming}
   */
  #recognize(text, start) {
    const latest = this.#expected.at(-1);
    if (!latest) return this.#addWord(start);
    const index = findRepeat(this.#expected, text, start);
    if (index !== null) {
      const heard = this.#expected[index];
      this.#expected.splice(0, index + 1);
      return { start, heard, repeated: heard.text, text: "" };
    }
    if (start < latest.start + NEW_WORD_MARGIN_SECONDS) {
      return { start, heard: null, repeated: "", text: "" };
    }
    this.#expected = [];
    return this.#addWord(start);
  }

  /** @param {number} start @returns {Incoming} */
  #addWord(start) {
    /** @type {HeardWord} */
    const heard = { start, text: "", end: null };
    this.#heard.push(heard);
    return { start, heard, repeated: "", text: "" };
  }

  /** @param {Word} word @returns {WordMessage[]} */
  #acceptWord(word) {
    const [start, end] = [word.start + this.#base, word.end + this.#base];
    const incoming = this.#awaitingWord.shift() ?? this.#recognize(word.text, start);
    if (incoming === this.#current) this.#current = null;
    const { heard } = incoming;
    if (heard === null || heard.end !== null) return [];
    heard.end = end;
    // The text that was told, should a replay have read the word another way.
    const text = heard.text.trim() || word.text;
    return [...this.#closeUnfinished(start), { ...word, type: "word", text, start, end }];
  }

  /** @param {FinalMessage} final @returns {Told[]} */
  #acceptFinal(final) {
    const missing = final.words.slice(this.#wordsOfConnection);
    const told = missing.flatMap((word) => this.#acceptWord(word));
    const duration = final.audio_duration + this.#base;
    const unfinished = this.settle(duration);
    return [...told, ...unfinished, { type: "final", audio_duration: duration }];
  }

  /**
   * Words whose text was told before a break and that no replay brought again.
   *
   * @param {number} before
   * @returns {WordMessage[]}
   */
  #closeUnfinished(before) {
    const unfinished = this.#heard.filter(
      ({ start, text, end }) => end === null && text !== "" && start < before,
    );
    return unfinished.map((word) => {
      word.end = before;
      const text = word.text.trim();
      return { type: "word", text, start: word.start, end: before, confidence: 0 };
    });
  }
}

/**
 * The last frame border at or before a time, in samples. A replay that starts there cuts the audio
 * into the same frames as before.
 *
 * @param {number} seconds
 */
export function wholeFrames(seconds) {
  const frames = (Math.max(0, seconds) * MODEL_RATE_HZ) / FRAME_SAMPLES;
  return Math.floor(frames + BORDER_TOLERANCE_FRAMES) * FRAME_SAMPLES;
}

/**
 * Which of the expected words this one repeats: the nearest in time that may be the same word.
 *
 * @param {HeardWord[]} expected
 * @param {string} text
 * @param {number} start
 */
function findRepeat(expected, text, start) {
  let best = null;
  let lowest = Infinity;
  for (const [index, word] of expected.entries()) {
    const distance = Math.abs(word.start - start);
    if (distance > REPEAT_TOLERANCE_SECONDS || !agree(word.text.trim(), text)) continue;
    const cost = distance + SKIP_COST_SECONDS * index;
    if (cost < lowest) [best, lowest] = [index, cost];
  }
  return best;
}

/**
 * What was not told before of the piece that was just added to the text of a word.
 *
 * @param {Incoming} incoming
 * @param {string} piece
 */
function cutRepeated({ repeated, text }, piece) {
  const [whole, seen] = [text.trimStart(), repeated.trimStart()];
  if (!seen) return piece;
  if (!whole.startsWith(seen)) return "";
  return whole.slice(Math.max(seen.length, whole.length - piece.length));
}

/**
 * Whether two readings may be one word: one of them is the other's beginning.
 *
 * @param {string} seen
 * @param {string} begins
 */
function agree(seen, begins) {
  return seen.startsWith(begins) || begins.startsWith(seen);
}
