/**
 * The waveform: one bar for each moment, in the accent colour until its text has come. How much
 * of it has the accent colour is how far the text is behind.
 */
import { FRAME_SECONDS } from "./audio-format.js";

const BAR_PIXELS = 2;
const PITCH_PIXELS = 4;
const QUIETEST_DB = -60;
const LOUDEST_DB = -8;

/** A voice is above this level, a quiet room below. */
export const AUDIBLE_LEVEL = 0.1;

/**
 * Loudness of a frame between 0 (silent) and 1.
 *
 * @param {Float32Array} frame
 */
export function measureLevel(frame) {
  const power = frame.reduce((sum, sample) => sum + sample * sample, 0) / frame.length;
  const decibels = 10 * Math.log10(power + 1e-12);
  return Math.max(0, Math.min(1, (decibels - QUIETEST_DB) / (LOUDEST_DB - QUIETEST_DB)));
}

export class VoiceStrip {
  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
    /**
     * One level for each frame of the take.
     *
     * @type {number[]}
     */
    this.levels = [];
    /** Whether all frames are shown, or the last ones as they come. */
    this.whole = false;
    this.writtenSeconds = 0;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  clear() {
    this.levels = [];
    this.whole = false;
    this.writtenSeconds = 0;
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = width * scale;
    this.canvas.height = height * scale;
    const paint = this.canvas.getContext("2d");
    if (!paint) return;
    paint.scale(scale, scale);
    const style = getComputedStyle(this.canvas);
    const final = style.getPropertyValue("--bar-final");
    const interim = style.getPropertyValue("--bar-interim");
    const columns = Math.floor(width / PITCH_PIXELS);
    for (let column = 0; column < columns; column += 1) {
      const { level, seconds } = this.#bar(column, columns);
      const tall = Math.max(BAR_PIXELS, level * height);
      // Silence has no text to wait for.
      const isInterim = level > AUDIBLE_LEVEL && seconds > this.writtenSeconds;
      paint.fillStyle = isInterim ? interim : final;
      paint.globalAlpha = level > 0 ? 1 : 0.4;
      paint.fillRect(column * PITCH_PIXELS, (height - tall) / 2, BAR_PIXELS, tall);
    }
  }

  /**
   * The bar of a column, and the moment that it shows.
   *
   * @param {number} column
   * @param {number} columns
   */
  #bar(column, columns) {
    const count = this.levels.length;
    if (!this.whole) {
      const frame = count - columns + column;
      return { level: this.levels[frame] ?? 0, seconds: frame * FRAME_SECONDS };
    }
    const from = Math.floor((column * count) / columns);
    const to = Math.floor(((column + 1) * count) / columns);
    const loudest = this.levels.slice(from, Math.max(to, from + 1)).reduce(maximum, 0);
    return { level: loudest, seconds: from * FRAME_SECONDS };
  }
}

/**
 * @param {number} a
 * @param {number} b
 */
function maximum(a, b) {
  return Math.max(a, b);
}
