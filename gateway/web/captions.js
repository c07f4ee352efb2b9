/** A transcript as plain text, SubRip (.srt) and WebVTT (.vtt). */
import { lineText } from "./transcript.js";

/**
 * @typedef {import("./transcript.js").Line} Line
 * @typedef {import("./transcript.js").Word} Word
 * @typedef {{start: number, end: number, rows: string[]}} Cue
 */

// Common limits of subtitles, so that a viewer can read and watch.
const ROW_CHARACTERS = 42;
const ROWS = 2;
const MAX_SECONDS = 7;
const MIN_SECONDS = 1;

/**
 * One line of text for every line of the transcript.
 *
 * @param {Line[]} lines
 */
export function toText(lines) {
  return lines.map((line) => `${fullText(line)}\n`).join("");
}

/** @param {Line[]} lines */
export function toSrt(lines) {
  const blocks = makeCues(lines).map(
    ({ start, end, rows }, i) =>
      `${i + 1}\n${clock(start, ",")} --> ${clock(end, ",")}\n${rows.join("\n")}\n`,
  );
  return blocks.join("\n");
}

/** @param {Line[]} lines */
export function toVtt(lines) {
  const blocks = makeCues(lines).map(
    ({ start, end, rows }) =>
      `${clock(start, ".")} --> ${clock(end, ".")}\n${rows.map(escapeVtt).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
}

/**
 * Words grouped into captions of at most two rows and seven seconds, which do not overlap.
 *
 * @param {Line[]} lines
 * @returns {Cue[]}
 */
function makeCues(lines) {
  const cues = lines.flatMap(({ words }) => groupWords(words));
  return cues.map((cue, i) => {
    const latest = cues[i + 1]?.start ?? Infinity;
    return { ...cue, end: Math.max(cue.end, Math.min(cue.start + MIN_SECONDS, latest)) };
  });
}

/**
 * @param {Word[]} words
 * @returns {Cue[]}
 */
function groupWords(words) {
  /** @type {Cue[]} */
  const cues = [];
  for (const { text, start, end } of words) {
    const cue = cues.at(-1);
    const rows = cue ? addToRows(cue.rows, text) : [];
    if (cue && rows.length <= ROWS && end - cue.start <= MAX_SECONDS) {
      cue.rows = rows;
      cue.end = end;
    } else {
      cues.push({ start, end, rows: [text] });
    }
  }
  return cues;
}

/**
 * The rows with one more word, in the last row where it fits.
 *
 * @param {string[]} rows
 * @param {string} text
 */
function addToRows(rows, text) {
  const longer = `${rows.at(-1)} ${text}`;
  return longer.length <= ROW_CHARACTERS ? [...rows.slice(0, -1), longer] : [...rows, text];
}

/** @param {Line} line */
function fullText(line) {
  const { final, interim } = lineText(line);
  return `${final} ${interim.trimStart()}`.trim();
}

/** @param {string} text */
function escapeVtt(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * Seconds as hours:minutes:seconds with milliseconds behind `point`.
 *
 * @param {number} seconds
 * @param {string} point
 */
function clock(seconds, point) {
  const milliseconds = Math.round(seconds * 1000);
  const [hours, minutes, rest] = [
    Math.floor(milliseconds / 3_600_000),
    Math.floor(milliseconds / 60_000) % 60,
    Math.floor(milliseconds / 1000) % 60,
  ];
  const whole = [hours, minutes, rest].map((part) => String(part).padStart(2, "0")).join(":");
  return `${whole}${point}${String(milliseconds % 1000).padStart(3, "0")}`;
}
