/** The transcript on the page: one list entry for each line, its time in the margin. */
import { setText } from "./dom.js";
import { lineText } from "./transcript.js";

/**
 * @typedef {import("./transcript.js").Line} Line
 * @typedef {ReturnType<typeof makeEntry>} Entry
 */

/** Nearer than this to the end of the page, the page follows the text. */
const FOLLOW_PIXELS = 160;

export class Sheet {
  /** @param {HTMLOListElement} list */
  constructor(list) {
    this.list = list;
    /** @type {Map<Line, Entry>} */
    this.entries = new Map();
  }

  /**
   * Show the lines as they are now; only what has changed is touched.
   *
   * @param {Line[]} lines
   */
  show(lines) {
    const follows = isNearEnd();
    const present = new Set(lines);
    for (const [line, entry] of this.entries) {
      if (present.has(line)) continue;
      entry.element.remove();
      this.entries.delete(line);
    }
    for (const line of lines) this.#showLine(line);
    if (follows) scrollTo({ top: document.documentElement.scrollHeight });
  }

  /** @param {Line} line */
  #showLine(line) {
    let entry = this.entries.get(line);
    if (!entry) {
      entry = makeEntry(line);
      this.entries.set(line, entry);
      this.list.append(entry.element);
    }
    const { final, interim } = lineText(line);
    setText(entry.final, final);
    setText(entry.interim, final ? interim : interim.trimStart());
  }
}

/** @param {Line} line */
function makeEntry(line) {
  const element = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = formatTime(line.start);
  time.dateTime = `PT${line.start.toFixed(1)}S`;
  const text = document.createElement("p");
  text.dir = "auto";
  const final = document.createElement("span");
  const interim = document.createElement("span");
  interim.className = "interim";
  text.append(final, interim);
  element.append(time, text);
  return { element, final, interim };
}

/**
 * Seconds as minutes:seconds, with hours where there are some.
 *
 * @param {number} seconds
 */
export function formatTime(seconds) {
  const whole = Math.floor(seconds);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function isNearEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - page.scrollTop < FOLLOW_PIXELS;
}
