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
 * @typedef {Timing & {type: "error", message: string, reason?: string}} ErrorMessage `reason` is a
 *   name (docs/websocket.md); older gateways give none
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

/** Reasons that say more than their close code. */
const FULL_REASONS = ["NO_FREE_SLOT", "OVERLOADED", "TOO_MANY_SESSIONS", "UPSTREAM_FULL"];
const SLOW_REASON = "SLOW_CONSUMER";

/**
 * What the end of a connection means to the page: `idle` is no audio, `full` that every slot is
 * taken; after `refused` trying again would not help, after `lost` it may.
 *
 * @param {number} code of the close
 * @param {{ended: boolean, admitted: boolean, reason?: string}} session whether the page had sent
 *   its end, whether the service had let it in, and the reason that its `error` gave
 * @returns {"done" | "idle" | "full" | "refused" | "lost"}
 */
export function classifyClose(code, { ended, admitted, reason = "" }) {
  if (FULL_REASONS.includes(reason)) return "full";
  // The page was suspended, and goes on where it was.
  if (reason === SLOW_REASON) return "lost";
  switch (code) {
    case NORMAL:
      return ended ? "done" : "idle";
    case BAD_DATA:
    case POLICY:
    case TOO_BIG:
      return "refused";
    case INTERNAL:
    case TRY_AGAIN_LATER:
      // Not admitted: the gateway has waited long enough for a service that does not start.
      return admitted ? "lost" : "refused";
    default:
      return "lost";
  }
}
