/**
 * The service's WebSocket protocol, apart from any socket. Times are seconds since the connection
 * began.
 *
 * @typedef {{processed?: number, lag?: number}} Timing how much audio the model has heard, and how
 *   much waits for it
 * @typedef {{text: string, start: number, end: number, confidence: number}} Word
 *
 * @typedef {Timing & {type: "ready", delay: number}} ReadyMessage
 * @typedef {Timing & {type: "token", text: string, start: number}} TokenMessage
 * @typedef {Timing & {type: "word"} & Word} WordMessage
 * @typedef {Timing & {type: "vad_end", offset: number}} PauseMessage
 * @typedef {Timing & {type: "flushed", flush_id: string}} FlushedMessage
 * @typedef {Timing & {type: "final", words: Word[], audio_duration: number}} FinalMessage
 * @typedef {Timing & {type: "ping"}} PingMessage
 * @typedef {Timing & {type: "error", message: string}} ErrorMessage
 * @typedef {ReadyMessage | TokenMessage | WordMessage | PauseMessage | FlushedMessage
 *   | FinalMessage | PingMessage | ErrorMessage} ServerMessage
 */

const STREAM = "v1/stream?events=word,final,ready&timing=1";

/**
 * Where the page that was loaded from `base` finds its stream.
 *
 * @param {string} base
 */
export function streamUrl(base) {
  const url = new URL(STREAM, base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export const END = JSON.stringify({ type: "end" });

/**
 * A message of the service. One of a type that is not listed above is for a newer page.
 *
 * @param {string} text
 * @returns {ServerMessage}
 */
export function parseMessage(text) {
  return JSON.parse(text);
}

const NORMAL = 1000;
const BAD_DATA = 1007;
const POLICY = 1008;
const TOO_BIG = 1009;
const INTERNAL = 1011;
const TRY_AGAIN_LATER = 1013;

/**
 * What the end of a connection means to the page: `idle` is no audio, `full` that every slot is
 * taken; after `refused` trying again would not help, after `lost` it may.
 *
 * @param {{code: number, reason: string}} closing
 * @param {{ended: boolean, admitted: boolean}} session whether the page had sent its end, and
 *   whether the service had admitted it
 * @returns {"done" | "idle" | "full" | "refused" | "lost"}
 */
export function classifyClose({ code, reason }, { ended, admitted }) {
  switch (code) {
    case NORMAL:
      return ended ? "done" : "idle";
    case BAD_DATA:
    case POLICY:
    case TOO_BIG:
      return "refused";
    case INTERNAL:
      return admitted ? "lost" : "refused";
    case TRY_AGAIN_LATER:
      if (reason === "server full") return "full";
      // Not admitted: the gateway has waited long enough for a service that does not start.
      return admitted ? "lost" : "refused";
    default:
      return "lost";
  }
}
