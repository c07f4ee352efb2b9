/** Plays scenarios on the page's own modules: a line of JSON in, a line of JSON out. */
import process from "node:process";
import { createInterface } from "node:readline";

import { Mixer } from "../../../../gateway/web/mix.js";
import { classifyClose } from "../../../../gateway/web/protocol.js";
import { Replay, wholeFrames } from "../../../../gateway/web/replay.js";
import { Tape } from "../../../../gateway/web/tape.js";

const KEPT = {
  ready: [],
  reconnected: ["from"],
  token: ["text", "start"],
  word: ["text", "start", "end", "confidence"],
  vad_end: ["offset"],
  ping: [],
  flushed: ["flush_id"],
  final: ["audio_duration"],
};

function playReplay(steps) {
  const replay = new Replay();
  return steps.map((step) => {
    if ("begin" in step) return replay.begin(step.begin, step.broken) ?? null;
    if ("restart" in step) return wholeFrames(replay.findRestart(step.restart));
    return replay.accept(step.message).map(describe);
  });
}

function describe(told) {
  return Object.fromEntries(["type", ...KEPT[told.type]].map((key) => [key, told[key]]));
}

/** Sample number n is n, so that what is read says where it was. */
function playTape(steps, capacity) {
  const tape = new Tape(capacity ?? Infinity);
  const outcomes = steps.map((step) => {
    if ("record" in step) {
      tape.append(Float32Array.from({ length: step.record }, (_, i) => tape.end + i));
    } else if ("forget" in step) {
      tape.forget(step.forget);
    } else if ("cut" in step) {
      tape.cut(step.cut);
    } else {
      return { read: readTape(tape, step) };
    }
    return { start: tape.start, end: tape.end };
  });
  return outcomes;
}

function readTape(tape, { read, limit }) {
  try {
    return [...tape.read(read, limit)];
  } catch (error) {
    if (error instanceof RangeError) return "gone";
    throw error;
  }
}

function mixAll(blocks) {
  const mixer = new Mixer(24_000);
  return blocks.flatMap((channels) => [...mixer.mix(channels.map((c) => Float32Array.from(c)))]);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { replay, tape, capacity, frames, mix, closes } = JSON.parse(line);
  let answer;
  if (replay) answer = playReplay(replay);
  else if (tape) answer = playTape(tape, capacity);
  else if (mix) answer = mixAll(mix);
  else if (closes) answer = closes.map(([code, session]) => classifyClose(code, session));
  else answer = frames.map(wholeFrames);
  console.log(JSON.stringify(answer));
}
