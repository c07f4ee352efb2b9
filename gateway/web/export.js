/** The transcript on the clipboard, or as a file. */
import { toSrt, toText, toVtt } from "./captions.js";

/** @typedef {import("./transcript.js").Line} Line */

/** @type {Record<string, {write: (lines: Line[]) => string, type: string}>} */
const FORMATS = {
  txt: { write: toText, type: "text/plain" },
  srt: { write: toSrt, type: "application/x-subrip" },
  vtt: { write: toVtt, type: "text/vtt" },
};

/**
 * Put the text on the clipboard. Throws where the browser does not let a page do so.
 *
 * @param {Line[]} lines
 */
export async function copyText(lines) {
  await navigator.clipboard.writeText(toText(lines));
}

/**
 * Have the browser save the lines as `txt`, `srt` or `vtt`.
 *
 * @param {Line[]} lines
 * @param {string} format
 * @param {string} name
 */
export function download(lines, format, name) {
  const { write, type } = FORMATS[format];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([write(lines)], { type: `${type};charset=utf-8` }));
  link.download = `${name}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
