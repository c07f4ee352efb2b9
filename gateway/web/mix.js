/**
 * Any number of channels as one, by the same rule as client/samples.py: the average, for a voice
 * may be on any of them. Where it cancels what they hold (a microphone wired out of phase, or a
 * file saved so), the loudest channel is taken instead.
 */

// Channels that have nothing to do with each other leave the power of their average at 1 of what
// it is compared with, as does a voice on one channel alone. Far below it they cancel.
const CANCELS_BELOW = 0.25;
const AGREES_ABOVE = 0.5;
const MEMORY_SECONDS = 0.3;
/** The channel that was chosen stays it until another has so many times its power. */
const LOUDER_BY = 2;

export class Mixer {
  #memorySamples;
  #averagePower = 0;
  /** @type {number[]} */
  #powers = [];
  /** @type {number | null} */
  #chosen = null;

  /** @param {number} rateHz */
  constructor(rateHz) {
    this.#memorySamples = MEMORY_SECONDS * rateHz;
  }

  /**
   * The next samples of each channel as one channel.
   *
   * @param {Float32Array[]} channels
   */
  mix(channels) {
    if (channels.length === 1) return channels[0];
    if (channels.length !== this.#powers.length) {
      this.#powers = channels.map(() => 0);
      this.#averagePower = 0;
      this.#chosen = null;
    }
    const before = this.#chosen;
    const wasSilent = this.#powers.every((power) => power === 0);
    const average = averageOf(channels);
    this.#measure(channels, average);
    this.#choose();
    const mixed = this.#chosen === null ? average : channels[this.#chosen];
    if (wasSilent || before === this.#chosen) return mixed;
    return crossfade(before === null ? average : channels[before], mixed);
  }

  /**
   * @param {Float32Array[]} channels
   * @param {Float32Array} average
   */
  #measure(channels, average) {
    const kept = 0.5 ** (average.length / this.#memorySamples);
    this.#powers = this.#powers.map((power, channel) => power * kept + powerOf(channels[channel]));
    this.#averagePower = this.#averagePower * kept + powerOf(average);
  }

  #choose() {
    const count = this.#powers.length;
    const unrelatedPower = this.#powers.reduce((sum, power) => sum + power, 0) / count ** 2;
    const highest = Math.max(...this.#powers);
    const loudest = this.#powers.indexOf(highest);
    if (this.#chosen === null && this.#averagePower < CANCELS_BELOW * unrelatedPower) {
      this.#chosen = loudest;
    }
    if (this.#chosen === null) return;
    if (this.#averagePower > AGREES_ABOVE * unrelatedPower) this.#chosen = null;
    else if (highest > LOUDER_BY * this.#powers[this.#chosen]) this.#chosen = loudest;
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

/**
 * The power, summed, without an offset: it is the same on all channels of a cheap converter.
 *
 * @param {Float32Array} samples
 */
function powerOf(samples) {
  let [sum, squares] = [0, 0];
  for (let i = 0; i < samples.length; i += 1) {
    sum += samples[i];
    squares += samples[i] * samples[i];
  }
  return Math.max(0, squares - (sum * sum) / Math.max(1, samples.length));
}

/**
 * One signal that becomes another: a hard switch would click.
 *
 * @param {Float32Array} from
 * @param {Float32Array} to
 */
function crossfade(from, to) {
  return to.map((sample, i) => from[i] + ((sample - from[i]) * i) / Math.max(1, to.length - 1));
}
