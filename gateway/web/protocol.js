/** The service's WebSocket protocol, apart from any socket. */

const STREAM = "v1/stream?events=word,final,ready&timing=1";

/** Where the page that was loaded from `base` finds its stream. */
export function streamUrl(base) {
  const url = new URL(STREAM, base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export const END = JSON.stringify({ type: "end" });

/** A message of the service; a type that this page does not know is for a newer one. */
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
 * What the end of a connection means to the page: `done`, `idle` (no audio came), `full` (every
 * slot is taken), `refused` (trying again would not help) or `lost` (it may).
 *
 * @param {{code: number, reason: string}} closing
 * @param {{ended: boolean, admitted: boolean}} session whether the page had sent its end, and
 *   whether the service had let it in
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
      // The gateway was patient with a service that would not start; one that broke is another.
      return admitted ? "lost" : "refused";
    default:
      return "lost";
  }
}
