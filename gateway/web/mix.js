/** Any number of channels as one. */

/** Below this part of the loudest channel's amplitude, the average has lost the voice. */
const MIN_AMPLITUDE_RATIO = 0.25;
/** A channel is left for another one that has this many times its amplitude. */
const LOUDER_AMPLITUDE_RATIO = 2;
/** How long loudness is averaged over. */
const SMOOTHING_SAMPLES = 6_000;

/**
 * Averages channels. Where they cancel (one of two is wired or saved with the wrong sign), the
 * loudest channel stands for all.
 */
export class Mixer {
  #mixEnergy = 0;
  /** @type {number[]} */
  #energies = [];
  #chosen = 0;

  /**
   * The next samples of each channel as one channel.
   *
   * @param {Float32Array[]} channels
   */
  mix(channels) {
    if (channels.length === 1) return channels[0];
    const average = averageOf(channels);
    const keep = Math.exp(-average.length / SMOOTHING_SAMPLES);
    this.#mixEnergy = keep * this.#mixEnergy + energyOf(average);
    this.#energies = channels.map((samples, channel) => {
      return keep * (this.#energies[channel] ?? 0) + energyOf(samples);
    });
    const most = Math.max(...this.#energies);
    if (this.#mixEnergy >= MIN_AMPLITUDE_RATIO ** 2 * most) return average;
    // Two that are equally loud must not take turns: one is the other upside down.
    if (!(this.#energies[this.#chosen] * LOUDER_AMPLITUDE_RATIO ** 2 >= most)) {
      this.#chosen = this.#energies.indexOf(most);
    }
    return channels[this.#chosen];
  }
}

/** @param {Float32Array[]} channels */
function averageOf(channels) {
  const average = new Float32Array(channels[0].length);
  for (const samples of channels) {
    for (let i = 0; i < average.length; i += 1) average[i] += samples[i] / channels.length;
  }
  return average;
}

/** @param {Float32Array} samples */
function energyOf(samples) {
  let energy = 0;
  for (let i = 0; i < samples.length; i += 1) energy += samples[i] * samples[i];
  return energy;
}
