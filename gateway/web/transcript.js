/**
 * What was said: lines of words with their times, and behind them the interim text, which no word
 * has completed yet. Times are seconds of recorded time, over all takes.
 *
 * @typedef {{text: string, start: number, end: number}} Word
 * @typedef {object} Line
 * @property {number} start
 * @property {Word[]} words
 * @property {string} interim tokens that no word has completed yet
 * @property {number} interimStart
 * @property {number} endedAt where the speaker paused; Infinity while the line is open
 */

/** Where a model recognizes no pauses itself, this much silence starts a line. */
const LONG_GAP_SECONDS = 2;

export class Transcript {
  constructor() {
    /** @type {Line[]} */
    this.lines = [];
    /**
     * Called with every line that is finished.
     *
     * @type {(line: Line) => void}
     */
    this.onLine = () => {};
  }

  get isEmpty() {
    return this.lines.length === 0;
  }

  /**
   * A token, with its own leading space, of a word that starts at `start`.
   *
   * @param {string} text
   * @param {number} start
   */
  addToken(text, start) {
    const line = this.#lineFor(start);
    if (line.interim === "") line.interimStart = start;
    line.interim += text;
  }

  /**
   * A word, made of the first tokens that no word has completed yet.
   *
   * @param {Word} word
   */
  addWord(word) {
    const line = this.lines.find(({ interim }) => interim !== "") ?? this.#lineFor(word.start);
    const interim = line.interim.trimStart();
    line.interim = interim.startsWith(word.text) ? interim.slice(word.text.length) : "";
    line.words.push(word);
    this.#finishIfOver(line);
  }

  /**
   * The speaker paused at `offset`; a word that begins later begins a new line.
   *
   * @param {number} offset
   */
  addPause(offset) {
    const line = this.lines.at(-1);
    if (!line || line.endedAt !== Infinity) return;
    line.endedAt = offset;
    this.#finishIfOver(line);
  }

  /**
   * A take is over at `seconds`: interim text becomes words, and the next line is new.
   *
   * @param {number} seconds
   */
  close(seconds) {
    for (const { interim, interimStart } of this.lines.filter((line) => line.interim)) {
      const end = Math.max(seconds, interimStart);
      this.addWord({ text: interim.trim(), start: interimStart, end });
    }
    this.addPause(seconds);
  }

  /**
   * @param {number} start
   * @returns {Line}
   */
  #lineFor(start) {
    const last = this.lines.at(-1);
    const silence = last ? start - (last.words.at(-1)?.end ?? start) : 0;
    if (last && start < last.endedAt && silence < LONG_GAP_SECONDS) return last;
    if (last) this.addPause(start);
    const line = { start, words: [], interim: "", interimStart: start, endedAt: Infinity };
    this.lines.push(line);
    return line;
  }

  /** @param {Line} line */
  #finishIfOver(line) {
    if (line.endedAt !== Infinity && line.interim === "") this.onLine(line);
  }
}

/**
 * The words of a line, and the interim text behind them.
 *
 * @param {Line} line
 */
export function lineText({ words, interim }) {
  return { final: words.map(({ text }) => text).join(" "), interim };
}
