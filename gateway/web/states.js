/**
 * What the page is doing, and what may follow.
 *
 * @typedef {keyof typeof TRANSITIONS} State
 * @typedef {"ask" | "open" | "granted" | "blocked" | "unreadable" | "stop" | "stopped" | "abandon"
 *   | "ping" | "ready" | "end" | "level" | "lost" | "idle" | "done" | "full" | "refused"
 *   | "gone"} StateEvent
 * @typedef {import("./microphone.js").Reason} Reason
 *
 * @typedef {object} Facts what the texts speak of
 * @property {string} [name] of the recording that is, or was, transcribed
 * @property {Reason} [reason] why there is no microphone
 * @property {boolean} [silent] whether the microphone gives no sound
 * @property {string} [message] why it failed, or what came of it
 */

/** @typedef {Partial<Record<StateEvent, string>>} Exits */

const CONNECTED = { ping: "warming", ready: "listening", end: "finishing" };
const ENDS = { done: "idle", full: "full", refused: "failed", gone: "failed" };
const BREAKS = { lost: "lost", idle: "paused" };
const CAN_STOP = { stop: "finishing", stopped: "finishing", abandon: "idle" };
const BEGINS = { ask: "asking", open: "decoding" };

const TRANSITIONS = {
  idle: BEGINS,
  blocked: BEGINS,
  full: BEGINS,
  failed: BEGINS,
  asking: { granted: "connecting", blocked: "blocked", abandon: "idle" },
  decoding: { granted: "connecting", unreadable: "failed", abandon: "idle" },
  connecting: { ...CONNECTED, ...ENDS, ...BREAKS, ...CAN_STOP },
  warming: { ...CONNECTED, ...ENDS, ...BREAKS, ...CAN_STOP },
  listening: { ...ENDS, ...BREAKS, ...CAN_STOP },
  lost: { ...CONNECTED, ...ENDS, ...BREAKS, ...CAN_STOP },
  paused: { ...CONNECTED, ...ENDS, ...BREAKS, ...CAN_STOP },
  finishing: { ...ENDS, lost: "lost", end: "finishing", abandon: "idle" },
};

/** @type {State} */
export const FIRST_STATE = "idle";

/**
 * The state that an event leads to; an event that means nothing in a state changes nothing.
 *
 * @param {State} state
 * @param {StateEvent} event
 * @returns {State}
 */
export function nextState(state, event) {
  /** @type {Exits} */
  const exits = TRANSITIONS[state];
  return /** @type {State} */ (exits[event] ?? state);
}

/**
 * Whether audio is on its way, or about to be.
 *
 * @param {State} state
 */
export function isBusy(state) {
  return TRANSITIONS[state] !== BEGINS;
}

/** @type {Record<Reason, [string, string]>} */
const MICROPHONE = {
  blocked: [
    "The microphone is blocked",
    "Allow it in the browser's address bar and try again.",
  ],
  missing: ["No microphone was found", "Plug one in and try again, or open a recording."],
  busy: [
    "The microphone does not start",
    "Another program may be using it. Close that program and try again.",
  ],
  offline: ["The server does not answer", "Try again in a moment."],
  insecure: [
    "No microphone at this address",
    "Browsers allow it on https:// and on localhost only. You can still open a recording.",
  ],
};

/** @type {Record<State, (facts: Facts) => [string, string]>} */
const TEXTS = {
  idle: ({ message }) => ["Ready", message ?? ""],
  asking: () => ["Waiting for the microphone", "Please allow it in the browser."],
  decoding: ({ name }) => [`Opening ${name}`, ""],
  blocked: ({ reason }) => MICROPHONE[reason ?? "busy"],
  connecting: () => ["Connecting", ""],
  warming: ({ name }) => [
    "The model is starting",
    `This can take half a minute. ${name ? "" : "You can speak now: what you say is kept."}`,
  ],
  listening: ({ name, silent }) => {
    if (name) return [`Transcribing ${name}`, ""];
    return ["Listening", silent ? "No sound yet. Is the right microphone selected and unmuted?" : ""];
  },
  lost: ({ name }) => [
    "Connection lost",
    `Reconnecting. ${name ? "It continues where it was." : "What you say meanwhile is kept."}`,
  ],
  paused: () => ["Paused", "The microphone sends no audio. The transcript continues when it does."],
  finishing: () => ["Finishing", "The last words are on their way."],
  full: () => ["Every slot is taken", "Try again in a moment. Your text stays here."],
  failed: ({ message }) => ["This did not work", message || "The service cannot be reached."],
};

/**
 * A state in words for a person: a headline and a detail.
 *
 * @param {State} state
 * @param {Facts} facts
 */
export function describeState(state, facts) {
  return TEXTS[state](facts);
}

const START = "Start speaking";
const AGAIN = "Try again";
/** @type {Partial<Record<State, string>>} */
const LABELS = {
  idle: START,
  asking: "Cancel",
  decoding: "Cancel",
  finishing: "Stop now",
  blocked: AGAIN,
  full: AGAIN,
  failed: AGAIN,
};

/**
 * What the one button does in a state. It never opens a recording again, only the microphone.
 *
 * @param {State} state
 * @param {Facts} facts
 */
export function labelButton(state, { name }) {
  const label = LABELS[state] ?? "Stop";
  return label === AGAIN && name ? START : label;
}
