/** The page: what the button, the files and the service set in motion. */
import { copyText, download } from "./export.js";
import { MicrophoneRefused } from "./microphone.js";
import { streamUrl } from "./protocol.js";
import { UnreadableRecording } from "./recording.js";
import { ServiceCorner } from "./service-corner.js";
import { Sheet, formatTime } from "./sheet.js";
import { FIRST_STATE, describeState, isBusy, labelButton, nextState } from "./states.js";
import { Take } from "./take.js";
import { Transcript } from "./transcript.js";
import { AUDIBLE_LEVEL, VoiceStrip, measureLevel } from "./voice-strip.js";

/** A voice that was not heard for this long is a microphone that does not work. */
const DEAF_AFTER_SECONDS = 5;
const LATENCIES_KEPT = 9;
const LINES_SPOKEN = 3;
const NOTICE_MS = 2_500;

const element = (id) => document.getElementById(id);
const downloads = [...document.querySelectorAll("[data-format]")];

const transcript = new Transcript();
const sheet = new Sheet(element("lines"));
const strip = new VoiceStrip(element("strip"));
const corner = new ServiceCorner(showInfo);

let state = FIRST_STATE;
/** What describeState wants to know. */
let facts = {};
let take = null;
/** Recorded time of all takes that are over, in seconds. */
let recordedSeconds = 0;
let latencies = [];
let loudestLevel = 0;
let cleared = null;
let isRenderDue = false;

// ------------------------------------------------------------------ takes

async function begin(file) {
  if (isBusy(state)) return notify("Stop first, then open the recording.");
  const name = file?.name ?? "";
  const fresh = new Take({
    name,
    startSeconds: recordedSeconds,
    onFrame: (frame) => take === fresh && noteFrame(frame),
    tell: (event, detail) => take === fresh && follow(event, detail),
  });
  take = fresh;
  latencies = [];
  loudestLevel = 0;
  strip.clear();
  strip.whole = name !== "";
  move(file ? "open" : "ask", { name });
  try {
    await (file ? fresh.openRecording(file) : fresh.openMicrophone());
  } catch (error) {
    if (take === fresh) refuse(error);
    return;
  }
  // Cancelled while the browser was asking.
  if (take !== fresh) return fresh.abandon();
  move("granted");
  fresh.connect(streamUrl(document.baseURI), transcript);
}

function refuse(error) {
  endTake();
  if (error instanceof MicrophoneRefused) move("blocked", { reason: error.reason });
  else if (error instanceof UnreadableRecording) move("unreadable", { message: error.message });
  else throw error;
}

/** What the stream tells. */
function follow(event, detail) {
  strip.writtenSeconds = take.writtenSeconds;
  switch (event) {
    case "progress":
      noteProgress(detail);
      break;
    case "ready":
      move(take.isEnding ? "end" : "ready");
      break;
    case "done":
    case "full":
    case "refused":
    case "gone":
      endTake();
      move(event, { message: detail });
      break;
    default:
      move(event);
  }
}

function stopOrLeave() {
  const canFinish = !take.isEnding && take.seconds > 0 && nextState(state, "stop") !== state;
  if (canFinish) {
    take.stop();
    move("stop");
  } else {
    endTake();
    move("abandon");
  }
}

function endTake() {
  const ended = take;
  take = null;
  ended.abandon();
  transcript.close(ended.startSeconds + ended.seconds);
  // An empty sheet begins at zero, so that the captions of a recording fit it.
  recordedSeconds = transcript.isEmpty ? 0 : ended.startSeconds + ended.seconds;
}

function noteFrame(frame) {
  const level = measureLevel(frame);
  loudestLevel = Math.max(loudestLevel, level);
  strip.levels.push(level);
  if (!take.name) noteDeafness();
  render();
}

function noteDeafness() {
  const deaf = take.seconds > DEAF_AFTER_SECONDS && loudestLevel < AUDIBLE_LEVEL;
  if (deaf !== Boolean(facts.deaf)) move("level", { deaf });
}

function noteProgress({ began }) {
  if (began !== null && !take.name) {
    latencies = [...latencies, take.behind(began)].slice(-LATENCIES_KEPT);
  }
  if (!transcript.isEmpty) cleared = null;
  render();
}

// ------------------------------------------------------------------ what is seen

function move(event, news = {}) {
  const before = state;
  state = nextState(state, event);
  const kept = isBusy(state) ? { name: facts.name, deaf: facts.deaf } : {};
  facts = { ...kept, ...news };
  const [headline, detail] = describeState(state, facts);
  setText(element("headline"), headline);
  setText(element("detail"), detail);
  setText(element("talk"), labelButton(state));
  document.body.dataset.state = state;
  document.title = isBusy(state) ? `${headline} – Speech to text` : "Speech to text";
  if (state !== before) {
    corner.watch = isBusy(state) || state === "full";
    if (state === "listening") corner.ask();
  }
  render();
}

/** Draw what has changed, once for everything that happens between two pictures. */
function render() {
  if (isRenderDue) return;
  isRenderDue = true;
  requestAnimationFrame(() => {
    isRenderDue = false;
    sheet.show(transcript.lines);
    strip.draw();
    showFigures();
    element("welcome").hidden = !transcript.isEmpty;
    for (const button of [element("copy"), ...downloads]) button.disabled = transcript.isEmpty;
    element("clear").disabled = transcript.isEmpty && !cleared;
    setText(element("clear"), cleared ? "Bring back" : "Clear");
  });
}

function showFigures() {
  const level = take && !take.name ? (strip.levels.at(-1) ?? 0) : 0;
  element("meter").setAttribute("aria-valuenow", Math.round(100 * level));
  // A recording that is being opened has no length yet.
  const elapsed = take && state !== "decoding" ? formatTime(take.seconds) : "";
  const read = elapsed && take.name ? `${formatTime(take.writtenSeconds)} of ${elapsed}` : elapsed;
  setText(element("elapsed"), read);
  const latency = latencies.toSorted((a, b) => a - b)[latencies.length >> 1];
  setText(element("latency"), take && latency ? `${latency.toFixed(1)} s behind your voice` : "");
  element("lag-entry").hidden = !take;
  if (take) setText(element("lag"), `${take.lagSeconds.toFixed(1)} s`);
}

function showInfo(info) {
  if (!info) {
    setText(element("model"), "no answer yet");
    setText(element("slots"), "–");
    return;
  }
  const taken = info.slots_total - info.slots_free;
  setText(element("model"), info.model_name);
  setText(element("slots"), `${taken} of ${info.slots_total} taken`);
  const about = info.description ? `This model understands ${info.description}.` : "";
  setText(element("understands"), about);
  element("service").title = `${about} Version ${info.version}`.trim();
}

function speakLine(line) {
  const spoken = element("spoken");
  const paragraph = document.createElement("p");
  paragraph.textContent = line.words.map(({ text }) => text).join(" ");
  spoken.append(paragraph);
  while (spoken.childElementCount > LINES_SPOKEN) spoken.firstElementChild.remove();
}

function notify(text) {
  setText(element("notice"), text);
  element("notice").classList.add("seen");
  clearTimeout(notify.timer);
  notify.timer = setTimeout(() => {
    element("notice").classList.remove("seen");
    setText(element("notice"), "");
  }, NOTICE_MS);
}

function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
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

function listenForFiles() {
  const curtain = element("drop");
  const hasFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    curtain.hidden = false;
  });
  addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) curtain.hidden = true;
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    curtain.hidden = true;
    begin(event.dataTransfer.files[0]);
  });
  element("file").addEventListener("change", ({ target }) => {
    if (target.files.length) begin(target.files[0]);
    // The same file may be chosen again.
    target.value = "";
  });
}

transcript.onLine = speakLine;
element("talk").addEventListener("click", () => (isBusy(state) ? stopOrLeave() : begin()));
element("copy").addEventListener("click", copy);
element("clear").addEventListener("click", clearOrBringBack);
for (const button of downloads) {
  button.addEventListener("click", () => download(transcript.lines, button.dataset.format, "transcript"));
}
addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && isBusy(state)) stopOrLeave();
});
addEventListener("pagehide", () => take?.abandon());
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !corner.watched) corner.ask();
});
listenForFiles();
render();
