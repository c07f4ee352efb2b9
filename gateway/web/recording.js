/** An audio file as mono float32 at the model's rate. */
import { FRAME_SAMPLES, MODEL_RATE_HZ } from "./audio-format.js";
import { Mixer } from "./mix.js";

/** A quieter recording is silent: this is below the noise of 16-bit samples. */
const AUDIBLE_PEAK = 1e-4;
/** A decoder may overshoot full scale; a peak above this is another scale. */
const MAX_PEAK = 8;

/** This file cannot be transcribed; the message is for the user. */
export class UnreadableRecording extends Error {}

/**
 * Decode a recording; the browser knows WAV, MP3, FLAC, Ogg, AAC and more, and resamples to the
 * rate of the context. Throws UnreadableRecording.
 *
 * @param {File} file
 */
export async function decodeRecording(file) {
  const decoded = await decode(file, await readBytes(file));
  const mono = mixDown(decoded);
  const peak = measurePeak(mono);
  if (!(peak <= MAX_PEAK)) {
    const what = "has samples that are far too large or not numbers";
    throw new UnreadableRecording(`${file.name} ${what}. Save it again as 16-bit audio.`);
  }
  if (peak < AUDIBLE_PEAK) {
    const seconds = (mono.length / MODEL_RATE_HZ).toFixed(1);
    throw new UnreadableRecording(`${file.name} is silent: ${seconds} seconds without any sound.`);
  }
  // The service refuses samples that are far outside full scale.
  for (let i = 0; i < mono.length; i += 1) mono[i] = Math.max(-1, Math.min(1, mono[i]));
  return mono;
}

/** @param {File} file */
async function readBytes(file) {
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch (error) {
    const message = `${file.name} cannot be read. Is it a folder, or was it moved or changed?`;
    throw new UnreadableRecording(message, { cause: error });
  }
  if (!bytes.byteLength) throw new UnreadableRecording(`${file.name} is empty.`);
  return bytes;
}

/**
 * @param {File} file
 * @param {ArrayBuffer} bytes
 */
async function decode(file, bytes) {
  const context = new OfflineAudioContext(1, 1, MODEL_RATE_HZ);
  try {
    return await context.decodeAudioData(bytes);
  } catch (error) {
    const message = `${file.name} has no audio that this browser can decode. Try WAV or MP3.`;
    throw new UnreadableRecording(message, { cause: error });
  }
}

/**
 * The largest amplitude; NaN where a sample is not a number.
 *
 * @param {Float32Array} samples
 */
function measurePeak(samples) {
  let peak = 0;
  for (let i = 0; i < samples.length; i += 1) peak = Math.max(peak, Math.abs(samples[i]));
  return peak;
}

/** @param {AudioBuffer} decoded */
function mixDown(decoded) {
  const mixer = new Mixer(MODEL_RATE_HZ);
  const channels = Array.from({ length: decoded.numberOfChannels }, (_, channel) => {
    return decoded.getChannelData(channel);
  });
  const mono = new Float32Array(decoded.length);
  for (let at = 0; at < mono.length; at += FRAME_SAMPLES) {
    mono.set(mixer.mix(channels.map((samples) => samples.subarray(at, at + FRAME_SAMPLES))), at);
  }
  return mono;
}
