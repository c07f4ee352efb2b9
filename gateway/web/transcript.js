/**
 * What was said: lines of words with their times, and behind them the tokens that no word has
 * closed yet. Times are seconds of recorded time, over all takes.
 *
 * @typedef {{text: string, start: number, end: number}} Word
 * @typedef {{start: number, words: Word[], wet: string, wetStart: number,
 *   endedAt: number}} Line
 */

/** Where a model hears no pauses itself, this much silence starts a line. */
const LONG_GAP_SECONDS = 2;

export class Transcript {
  constructor() {
    /** @type {Line[]} */
    this.lines = [];
    /** Called with every line that is finished. */
    this.onLine = () => {};
  }

  get isEmpty() {
    return this.lines.length === 0;
  }

  /** Whether a word has begun that is not whole yet. */
  get hasWetInk() {
    return this.lines.some((line) => line.wet !== "");
  }

  /** The end of the last whole word, or 0. */
  get settledSeconds() {
    return this.lines.findLast(({ words }) => words.length)?.words.at(-1).end ?? 0;
  }

  /** A text piece, with its own leading space, of a word that starts at `start`. */
  addToken(text, start) {
    const line = this.#lineFor(start);
    if (line.wet === "") line.wetStart = start;
    line.wet += text;
  }

  /** The word that the first tokens without one have become. */
  addWord(word) {
    const line = this.lines.find(({ wet }) => wet !== "") ?? this.#lineFor(word.start);
    const wet = line.wet.trimStart();
    line.wet = wet.startsWith(word.text) ? wet.slice(word.text.length) : "";
    line.words.push(word);
    this.#finishIfOver(line);
  }

  /** The speaker paused at `offset`; a word that begins later begins a new line. */
  addPause(offset) {
    const line = this.lines.at(-1);
    if (!line || line.endedAt !== Infinity) return;
    line.endedAt = offset;
    this.#finishIfOver(line);
  }

  /** Forget the tokens without a word: their audio is going to be heard again. */
  rewind() {
    for (const line of this.lines) line.wet = "";
    this.lines = this.lines.filter(({ words }) => words.length);
  }

  /** A take is over at `seconds`: what has no word by now is one, and the next line is new. */
  close(seconds) {
    for (const { wet, wetStart } of this.lines.filter((line) => line.wet)) {
      this.addWord({ text: wet.trim(), start: wetStart, end: Math.max(seconds, wetStart) });
    }
    this.addPause(seconds);
  }

  #lineFor(start) {
    const last = this.lines.at(-1);
    const silence = last ? start - (last.words.at(-1)?.end ?? start) : 0;
    if (last && start < last.endedAt && silence < LONG_GAP_SECONDS) return last;
    if (last) this.addPause(start);
    const line = { start, words: [], wet: "", wetStart: start, endedAt: Infinity };
    this.lines.push(line);
    return line;
  }

  #finishIfOver(line) {
    if (line.endedAt !== Infinity && line.wet === "") this.onLine(line);
  }
}

/** The words of a line that are whole, and what follows them. */
export function lineText(line) {
  return { dry: line.words.map(({ text }) => text).join(" "), wet: line.wet };
}
