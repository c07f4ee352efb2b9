/** A file with sound as mono float32 at the model's rate. */
import { MODEL_RATE_HZ } from "./audio-format.js";

/** The browser cannot read this file; the message is for the user. */
export class UnreadableRecording extends Error {}

/**
 * Decode a recording; the browser knows WAV, MP3, FLAC, Ogg, AAC and more, and resamples to the
 * rate of the context. Throws UnreadableRecording.
 *
 * @param {File} file
 * @returns {Promise<Float32Array>}
 */
export async function decodeRecording(file) {
  const context = new OfflineAudioContext(1, 1, MODEL_RATE_HZ);
  let decoded;
  try {
    decoded = await context.decodeAudioData(await file.arrayBuffer());
  } catch (error) {
    const message = `${file.name} has no sound that this browser can read.`;
    throw new UnreadableRecording(message, { cause: error });
  }
  return mixDown(decoded);
}

function mixDown(decoded) {
  const mono = decoded.getChannelData(0);
  const channels = decoded.numberOfChannels;
  for (let channel = 1; channel < channels; channel += 1) {
    const samples = decoded.getChannelData(channel);
    for (let i = 0; i < mono.length; i += 1) mono[i] += samples[i];
  }
  // A decoder may overshoot full scale by a little, and the service refuses what is far outside.
  for (let i = 0; i < mono.length; i += 1) mono[i] = clamp(mono[i] / channels);
  return mono;
}

function clamp(sample) {
  return Math.max(-1, Math.min(1, sample));
}
