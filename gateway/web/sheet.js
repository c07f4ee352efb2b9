/** The transcript on the page: one list entry for each line, its time in the margin. */
import { lineText } from "./transcript.js";

/** Nearer than this to the end of the page, the page follows the text. */
const FOLLOW_PIXELS = 160;

export class Sheet {
  /** @param {HTMLOListElement} list */
  constructor(list) {
    this.list = list;
    this.entries = new Map();
  }

  /** Show the lines as they are now; only what has changed is touched. */
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

  #showLine(line) {
    let entry = this.entries.get(line);
    if (!entry) {
      entry = makeEntry(line);
      this.entries.set(line, entry);
      this.list.append(entry.element);
    }
    const { dry, wet } = lineText(line);
    setText(entry.dry, dry);
    setText(entry.wet, dry ? wet : wet.trimStart());
  }
}

function makeEntry(line) {
  const element = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = formatTime(line.start);
  time.dateTime = `PT${line.start.toFixed(1)}S`;
  const text = document.createElement("p");
  text.dir = "auto";
  const dry = document.createElement("span");
  const wet = document.createElement("span");
  wet.className = "wet";
  text.append(dry, wet);
  element.append(time, text);
  return { element, dry, wet };
}

/** Seconds as minutes:seconds, with hours where there are some. */
export function formatTime(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function isNearEnd() {
  const page = document.documentElement;
  return page.scrollHeight - page.clientHeight - page.scrollTop < FOLLOW_PIXELS;
}
