/**
 * The audio of one take, so that a broken connection costs none of it: what is not yet written
 * down is read again from here. Positions are samples since the take began.
 */
export class Tape {
  /** @param {number} capacity samples that are kept; the oldest go first */
  constructor(capacity = Infinity) {
    this.capacity = capacity;
    this.pieces = [];
    this.start = 0;
    this.end = 0;
    /** Whether all of it is here. */
    this.complete = false;
  }

  append(samples) {
    if (!samples.length) return;
    this.pieces.push({ at: this.end, samples });
    this.end += samples.length;
    this.forget(this.end - this.capacity);
  }

  /** At most `limit` samples from `position` on, which is not before `start`; empty at the end. */
  read(position, limit) {
    const piece = this.pieces.find((candidate) => position < endOf(candidate));
    if (!piece) return new Float32Array(0);
    const from = position - piece.at;
    return piece.samples.subarray(from, from + limit);
  }

  /** Nothing after `position` counts, and nothing more comes. */
  cut(position) {
    this.end = position;
    this.complete = true;
  }

  /** Drop whole pieces that end before `position`. */
  forget(position) {
    while (this.pieces.length && endOf(this.pieces[0]) <= position) this.pieces.shift();
    this.start = this.pieces.length ? this.pieces[0].at : this.end;
  }
}

function endOf({ at, samples }) {
  return at + samples.length;
}
