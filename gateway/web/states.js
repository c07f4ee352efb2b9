/** What the page is doing, and what may follow. */

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

export const FIRST_STATE = "idle";

/** The state that an event leads to; an event that means nothing in a state changes nothing. */
export function nextState(state, event) {
  return TRANSITIONS[state][event] ?? state;
}

/** Whether audio is on its way, or about to be. */
export function isBusy(state) {
  return TRANSITIONS[state] !== BEGINS;
}

const MICROPHONE = {
  blocked: [
    "The microphone is blocked",
    "Allow it in the browser's address bar and try again.",
  ],
  missing: ["No microphone was found", "Plug one in and try again, or open a recording."],
  busy: ["The microphone gives no sound", "Another program may hold it. Close that and try again."],
  offline: ["The server does not answer", "Try again in a moment."],
  insecure: [
    "This address gets no microphone",
    "Browsers give it to https:// and to localhost only. A recording works here.",
  ],
};

const WORDS = {
  idle: () => ["Ready", ""],
  asking: () => ["May this page listen?", "Your browser asks for the microphone. Please allow it."],
  decoding: ({ name }) => [`Opening ${name}`, ""],
  blocked: ({ reason }) => MICROPHONE[reason],
  connecting: () => ["Connecting", ""],
  warming: ({ name }) => [
    "The model is waking up",
    `This can take half a minute. ${name ? "" : "Do speak: what you say is kept."}`,
  ],
  listening: ({ name, deaf }) => {
    if (name) return [`Reading ${name}`, ""];
    return ["Listening", deaf ? "No sound yet. Is the right microphone chosen, and not muted?" : ""];
  },
  lost: ({ name }) => [
    "Connection lost",
    `Reconnecting. ${name ? "It goes on where it was." : "What you say meanwhile is kept."}`,
  ],
  paused: () => ["Paused", "The microphone gives no sound. It goes on when there is some."],
  finishing: () => ["Finishing", "The last words are on their way."],
  full: () => ["Every slot is taken", "Try again in a moment. Your text stays here."],
  failed: ({ message }) => ["This did not work", message || "The service cannot be reached."],
};

/**
 * A state in words for a person: a headline and a detail.
 *
 * @param {{name?: string, reason?: string, deaf?: boolean, message?: string}} facts
 */
export function describeState(state, facts) {
  return WORDS[state](facts);
}

const STOP = "Stop";
const AGAIN = "Try again";
const LABELS = {
  idle: "Start speaking",
  asking: "Cancel",
  decoding: "Cancel",
  finishing: "Stop now",
  blocked: AGAIN,
  full: AGAIN,
  failed: AGAIN,
};

/** What the one button does in a state. */
export function labelButton(state) {
  return LABELS[state] ?? STOP;
}
