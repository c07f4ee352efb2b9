/** A transcript as plain text, SubRip (.srt) and WebVTT (.vtt). */
import { lineText } from "./transcript.js";

// What subtitlers keep to, so that a viewer can read and watch.
const ROW_CHARACTERS = 42;
const ROWS = 2;
const LONGEST_SECONDS = 7;
const SHORTEST_SECONDS = 1;

/** One line of text for every line of the transcript. */
export function toText(lines) {
  return lines.map((line) => `${fullText(line)}\n`).join("");
}

export function toSrt(lines) {
  const blocks = makeCues(lines).map(
    ({ start, end, rows }, i) =>
      `${i + 1}\n${clock(start, ",")} --> ${clock(end, ",")}\n${rows.join("\n")}\n`,
  );
  return blocks.join("\n");
}

export function toVtt(lines) {
  const blocks = makeCues(lines).map(
    ({ start, end, rows }) =>
      `${clock(start, ".")} --> ${clock(end, ".")}\n${rows.map(escapeVtt).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
}

/** Words grouped into captions of at most two rows and seven seconds, none over the next. */
export function makeCues(lines) {
  const cues = lines.flatMap(({ words }) => groupWords(words)).map(makeCue);
  return cues.map((cue, i) => {
    const latest = cues[i + 1]?.start ?? Infinity;
    return { ...cue, end: Math.max(cue.end, Math.min(cue.start + SHORTEST_SECONDS, latest)) };
  });
}

function groupWords(words) {
  const groups = [];
  for (const word of words) {
    const group = groups.at(-1);
    if (group && fits([...group, word])) group.push(word);
    else groups.push([word]);
  }
  return groups;
}

function fits(words) {
  const seconds = words.at(-1).end - words[0].start;
  return seconds <= LONGEST_SECONDS && breakRows(words).length <= ROWS;
}

function makeCue(words) {
  return { start: words[0].start, end: words.at(-1).end, rows: breakRows(words) };
}

function breakRows(words) {
  const rows = [];
  for (const { text } of words) {
    const longer = rows.length ? `${rows.at(-1)} ${text}` : text;
    if (rows.length && longer.length <= ROW_CHARACTERS) rows[rows.length - 1] = longer;
    else rows.push(text);
  }
  return rows;
}

function fullText(line) {
  const { dry, wet } = lineText(line);
  return `${dry} ${wet.trimStart()}`.trim();
}

function escapeVtt(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** Seconds as hours:minutes:seconds with milliseconds behind `point`. */
export function clock(seconds, point) {
  const milliseconds = Math.round(seconds * 1000);
  const [hours, minutes, rest] = [
    Math.floor(milliseconds / 3_600_000),
    Math.floor(milliseconds / 60_000) % 60,
    Math.floor(milliseconds / 1000) % 60,
  ];
  const whole = [hours, minutes, rest].map((part) => String(part).padStart(2, "0")).join(":");
  return `${whole}${point}${String(milliseconds % 1000).padStart(3, "0")}`;
}
