/**
 * The audio of one take, kept so that a broken connection costs none of it: what is not settled
 * is read again from here (docs/replay.md). Positions are samples since the take began.
 */
export class Tape {
  /** @type {{at: number, samples: Float32Array<ArrayBuffer>}[]} */
  #pieces = [];
  #capacity;

  /** @param {number} capacity samples that are kept; the oldest go first */
  constructor(capacity = Infinity) {
    this.#capacity = capacity;
    this.end = 0;
    /** Whether all of it is here. */
    this.complete = false;
  }

  /** Position of the first sample that is still kept. */
  get start() {
    return this.#pieces[0]?.at ?? this.end;
  }

  /** @param {Float32Array<ArrayBuffer>} samples */
  append(samples) {
    if (!samples.length || this.complete) return;
    this.#pieces.push({ at: this.end, samples });
    this.end += samples.length;
    this.forget(this.end - this.#capacity);
  }

  /**
   * At most `limit` samples from `position` on, which is not before `start`; empty at the end.
   *
   * @param {number} position
   * @param {number} limit
   */
  read(position, limit) {
    const piece = this.#pieces.find((candidate) => position < endOf(candidate));
    if (!piece || position >= this.end) return new Float32Array(0);
    const from = position - piece.at;
    if (from < 0) throw new RangeError(`sample ${position} is gone; the tape starts at ${piece.at}`);
    // After a cut, a piece may reach beyond the end.
    return piece.samples.subarray(from, Math.min(from + limit, this.end - piece.at));
  }

  /**
   * Nothing after `position` counts, and nothing more comes.
   *
   * @param {number} position
   */
  cut(position) {
    this.end = position;
    this.complete = true;
  }

  /**
   * Drop whole pieces that end at or before `position`.
   *
   * @param {number} position
   */
  forget(position) {
    const kept = this.#pieces.findIndex((piece) => endOf(piece) > position);
    if (kept !== 0) this.#pieces.splice(0, kept < 0 ? Infinity : kept);
  }
}

/** @param {{at: number, samples: Float32Array}} piece */
function endOf({ at, samples }) {
  return at + samples.length;
}
