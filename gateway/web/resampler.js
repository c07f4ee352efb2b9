/**
 * Streaming conversion between two sample rates by their exact ratio.
 *
 * A polyphase low-pass: the kernel is a sinc under a Kaiser window (Kaiser 1974; Oppenheim and
 * Schafer, Discrete-Time Signal Processing, section 7.6), flat up to 0.9 of the lower of the two
 * Nyquist frequencies and 80 dB down from there on. Output and input are aligned in time.
 */

const STOPBAND_DB = 80;
const PASSBAND_OF_NYQUIST = 0.9;
const KAISER_BETA = 0.1102 * (STOPBAND_DB - 8.7);

export class Resampler {
  /**
   * Both rates in samples per second, whole numbers.
   *
   * @param {number} fromHz
   * @param {number} toHz
   */
  constructor(fromHz, toHz) {
    const divisor = greatestCommonDivisor(fromHz, toHz);
    /** One input sample is `up` ticks long, one output sample `down` ticks. */
    this.up = toHz / divisor;
    this.down = fromHz / divisor;
    this.kernel = new Kernel(this.up, Math.min(1, toHz / fromHz));
    // Silence before the first sample, where the kernel of the first output reaches.
    this.held = new Float32Array(this.kernel.half - 1);
    /** Tick of the next output, counted from the sample in the middle of the kernel. */
    this.tick = 0;
  }

  /**
   * The output that is complete with this input.
   *
   * @param {Float32Array} samples
   */
  push(samples) {
    const input = concatenate(this.held, samples);
    const { length } = this.kernel;
    /** @type {number[]} */
    const output = [];
    let first = 0;
    while (first + length <= input.length) {
      const taps = this.kernel.phase(this.tick);
      let sum = 0;
      for (let tap = 0; tap < length; tap += 1) sum += taps[tap] * input[first + tap];
      output.push(sum);
      this.tick += this.down;
      first += Math.floor(this.tick / this.up);
      this.tick %= this.up;
    }
    this.held = input.slice(first);
    return Float32Array.from(output);
  }

  /** The rest of the output, once the input is over. */
  finish() {
    return this.push(new Float32Array(this.kernel.half));
  }
}

/** The low-pass, sampled once for each place that an output can take between two inputs. */
class Kernel {
  /**
   * @param {number} up
   * @param {number} ratio the lower rate over the input rate, at most 1
   */
  constructor(up, ratio) {
    const stop = 0.5 * ratio;
    const width = stop * (1 - PASSBAND_OF_NYQUIST);
    this.half = Math.ceil((STOPBAND_DB - 7.95) / (14.36 * width) / 2);
    this.length = 2 * this.half;
    this.cutoff = stop - width / 2;
    this.up = up;
    /** @type {Float32Array[]} */
    this.phases = [];
  }

  /**
   * Taps for an output `tick` ticks after the middle sample, computed when first needed.
   *
   * @param {number} tick
   */
  phase(tick) {
    this.phases[tick] ??= this.sample(tick / this.up);
    return this.phases[tick];
  }

  /** @param {number} offset */
  sample(offset) {
    const taps = new Float32Array(this.length);
    let sum = 0;
    for (let tap = 0; tap < this.length; tap += 1) {
      taps[tap] = this.at(tap - (this.half - 1) - offset);
      sum += taps[tap];
    }
    // Every phase passes a constant unchanged; otherwise the phases would add a tone.
    return taps.map((value) => value / sum);
  }

  /** @param {number} distance */
  at(distance) {
    const edge = distance / this.half;
    if (Math.abs(edge) >= 1) return 0;
    const angle = 2 * Math.PI * this.cutoff * distance;
    const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
    return sinc * bessel(KAISER_BETA * Math.sqrt(1 - edge * edge));
  }
}

/**
 * Modified Bessel function of the first kind, order zero, by its power series.
 *
 * @param {number} x
 */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-12 * sum; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * @param {Float32Array} left
 * @param {Float32Array} right
 */
function concatenate(left, right) {
  const joined = new Float32Array(left.length + right.length);
  joined.set(left);
  joined.set(right, left.length);
  return joined;
}
