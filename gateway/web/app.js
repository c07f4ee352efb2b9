/** The page: what the button, the files and the service do to it. */
import { notify, speakLine } from "./announce.js";
import { element, setText } from "./dom.js";
import { copyText, download } from "./export.js";
import { listenForFiles } from "./files.js";
import { MicrophoneRefused } from "./microphone.js";
import { streamUrl } from "./protocol.js";
import { UnreadableRecording } from "./recording.js";
import { ServiceCorner } from "./service-corner.js";
import { Sheet, formatTime } from "./sheet.js";
import { FIRST_STATE, describeState, isBusy, labelButton, nextState } from "./states.js";
import { Take } from "./take.js";
import { Transcript } from "./transcript.js";
import { AUDIBLE_LEVEL, VoiceStrip, measureLevel } from "./voice-strip.js";

/** A microphone that gives no sound for this long may be the wrong one. */
const SILENT_AFTER_SECONDS = 5;
const LATENCIES_KEPT = 9;

/** @param {string} id */
const find = (id) => element(id, HTMLElement);
/** @param {string} id */
const findButton = (id) => element(id, HTMLButtonElement);
/** @type {NodeListOf<HTMLButtonElement>} */
const downloads = document.querySelectorAll("button[data-format]");

const transcript = new Transcript();
const sheet = new Sheet(element("lines", HTMLOListElement));
const strip = new VoiceStrip(element("strip", HTMLCanvasElement));
const corner = new ServiceCorner(showInfo);

let state = FIRST_STATE;
/** @type {import("./states.js").Facts} */
let facts = {};
/** @type {Take | null} */
let take = null;
/** Recorded time of all takes that are over, in seconds. */
let recordedSeconds = 0;
/** @type {number[]} */
let latencies = [];
let hasWords = false;
let loudestLevel = 0;
/** @type {{lines: import("./transcript.js").Line[], recordedSeconds: number} | null} */
let cleared = null;
let isRenderDue = false;

// ------------------------------------------------------------------ takes

/** @param {File} [file] without one, the microphone */
async function begin(file) {
  if (isBusy(state)) return notify("Stop first, then open the recording.");
  const name = file?.name ?? "";
  const fresh = new Take({
    name,
    startSeconds: recordedSeconds,
    onFrame: (frame) => {
      if (take === fresh) noteFrame(fresh, frame);
    },
    tell: (event) => {
      if (take === fresh) follow(fresh, event);
    },
  });
  take = fresh;
  latencies = [];
  hasWords = false;
  loudestLevel = 0;
  strip.clear();
  strip.whole = name !== "";
  move(file ? "open" : "ask", { name });
  try {
    await (file ? fresh.openRecording(file) : fresh.openMicrophone());
  } catch (error) {
    if (take === fresh) refuse(fresh, error);
    return;
  }
  // Cancelled while the browser was asking.
  if (take !== fresh) return fresh.abandon();
  move("granted");
  fresh.connect(streamUrl(document.baseURI), transcript);
}

/**
 * @param {Take} refused
 * @param {unknown} error
 */
function refuse(refused, error) {
  endTake(refused);
  if (error instanceof MicrophoneRefused) move("blocked", { reason: error.reason });
  else if (error instanceof UnreadableRecording) move("unreadable", { message: error.message });
  else {
    reportError(error);
    if (refused.name) move("unreadable", { message: `${refused.name} cannot be opened: ${error}` });
    else move("blocked", { reason: "busy" });
  }
}

/**
 * What the stream tells.
 *
 * @param {Take} running
 * @param {import("./take.js").TakeEvent} event
 */
function follow(running, event) {
  strip.writtenSeconds = running.writtenSeconds;
  switch (event.type) {
    case "progress":
      noteProgress(running, event.began);
      break;
    case "ready":
      move(running.isEnding ? "end" : "ready");
      break;
    case "done":
      endTake(running);
      move("done", hasWords ? {} : { message: "No words were recognized." });
      break;
    case "full":
    case "refused":
    case "gone":
      endTake(running);
      move(event.type, { message: event.message });
      break;
    default:
      move(event.type);
  }
}

function stopOrLeave() {
  if (!take) return;
  const canFinish = !take.isEnding && take.seconds > 0 && nextState(state, "stop") !== state;
  if (canFinish) {
    take.stop();
    move("stop");
  } else {
    leave();
  }
}

/** End what runs at once: the microphone goes off, and the slot is free. */
function leave() {
  if (!take) return;
  endTake(take);
  move("abandon");
}

/** @param {Take} ended */
function endTake(ended) {
  take = null;
  ended.abandon();
  transcript.close(ended.startSeconds + ended.seconds);
  // An empty sheet begins at zero, so that the captions of a recording fit it.
  recordedSeconds = transcript.isEmpty ? 0 : ended.startSeconds + ended.seconds;
}

/**
 * @param {Take} running
 * @param {Float32Array} frame
 */
function noteFrame(running, frame) {
  const level = measureLevel(frame);
  loudestLevel = Math.max(loudestLevel, level);
  strip.levels.push(level);
  const silent = running.seconds > SILENT_AFTER_SECONDS && loudestLevel < AUDIBLE_LEVEL;
  if (!running.name && silent !== Boolean(facts.silent)) move("level", { silent });
  render();
}

/**
 * @param {Take} running
 * @param {number | null} began when a word began that has its first text now
 */
function noteProgress(running, began) {
  if (began !== null) {
    hasWords = true;
    if (!running.name) latencies = [...latencies, running.behind(began)].slice(-LATENCIES_KEPT);
  }
  if (!transcript.isEmpty) cleared = null;
  render();
}

// ------------------------------------------------------------------ what is seen

/**
 * @param {import("./states.js").StateEvent} event
 * @param {import("./states.js").Facts} [news]
 */
function move(event, news = {}) {
  const before = state;
  state = nextState(state, event);
  const silent = isBusy(state) && facts.silent;
  facts = { name: facts.name, silent, ...news };
  const [headline, detail] = describeState(state, facts);
  setText(find("headline"), headline);
  setText(find("detail"), detail);
  setText(find("talk"), labelButton(state, facts));
  document.body.dataset.state = state;
  document.title = isBusy(state) ? `${headline} – Speech to text` : "Speech to text";
  if (state !== before) {
    corner.watch = isBusy(state) || state === "full";
    if (state === "listening") corner.ask();
  }
  render();
}

/** Draw what has changed, once for everything that happens before the next animation frame. */
function render() {
  if (isRenderDue) return;
  isRenderDue = true;
  requestAnimationFrame(() => {
    isRenderDue = false;
    sheet.show(transcript.lines);
    strip.draw();
    showFigures();
    find("welcome").hidden = !transcript.isEmpty;
    for (const button of [findButton("copy"), ...downloads]) button.disabled = transcript.isEmpty;
    findButton("clear").disabled = transcript.isEmpty && !cleared;
    setText(find("clear"), cleared ? "Undo clear" : "Clear");
  });
}

function showFigures() {
  const name = take?.name ?? "";
  const level = take && !name ? (strip.levels.at(-1) ?? 0) : 0;
  find("meter").setAttribute("aria-valuenow", String(Math.round(100 * level)));
  // A recording that is being opened has no length yet.
  const elapsed = take && state !== "decoding" ? formatTime(take.seconds) : "";
  const written = take && elapsed && name ? `${formatTime(take.writtenSeconds)} of ` : "";
  setText(find("elapsed"), written + elapsed);
  const latency = latencies.toSorted((a, b) => a - b)[latencies.length >> 1];
  setText(find("latency"), take && latency ? `${latency.toFixed(1)} s behind your voice` : "");
  find("lag-entry").hidden = !take;
  if (take) setText(find("lag"), `${take.lagSeconds.toFixed(1)} s`);
}

/** @param {import("./service-corner.js").ServerInfo | null} info */
function showInfo(info) {
  if (!info) {
    setText(find("model"), "no answer yet");
    setText(find("slots"), "–");
    return;
  }
  const taken = info.slots_total - info.slots_free;
  setText(find("model"), info.model_name);
  setText(find("slots"), `${taken} of ${info.slots_total} taken`);
  const about = info.description ? `This model understands ${info.description}.` : "";
  setText(find("understands"), about);
  find("service").title = `${about} Version ${info.version}`.trim();
}

// ------------------------------------------------------------------ what is touched

async function copy() {
  try {
    await copyText(transcript.lines);
    notify("Copied.");
  } catch {
    notify("The browser does not let this page copy. Select the text and copy it.");
  }
}

function clearOrBringBack() {
  if (cleared) {
    transcript.lines.unshift(...cleared.lines);
    recordedSeconds = Math.max(recordedSeconds, cleared.recordedSeconds);
    cleared = null;
    notify("The text is back.");
  } else {
    cleared = { lines: transcript.lines, recordedSeconds };
    transcript.lines = [];
    if (!take) recordedSeconds = 0;
    notify("Cleared.");
  }
  render();
}

transcript.onLine = speakLine;
find("talk").addEventListener("click", () => (isBusy(state) ? stopOrLeave() : begin()));
find("copy").addEventListener("click", copy);
find("clear").addEventListener("click", clearOrBringBack);
for (const button of downloads) {
  const format = button.dataset.format ?? "txt";
  button.addEventListener("click", () => download(transcript.lines, format, "transcript"));
}
addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && isBusy(state)) stopOrLeave();
});
// The page may come back from the browser's back-forward cache, and is ready then.
addEventListener("pagehide", leave);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !corner.watched) corner.ask();
});
listenForFiles(begin);
render();
