/** The corner that says which model is served, what it understands, and how busy it is. */

const ASK_MS = 5_000;
/** A service that is asleep is asked again this often after the page was opened, and no more. */
const MOST_FAILURES = 12;

/**
 * Asks `/v1/info` until it is answered, and from then on only while it is `watched`. Every question
 * wakes a service that has scaled to nothing, so a page that is merely open must not ask.
 */
export class ServiceCorner {
  #timer;
  #failures = 0;

  /** @param {(info: object | null) => void} show null where the service does not answer */
  constructor(show) {
    this.show = show;
    this.watched = false;
    this.ask();
  }

  set watch(wanted) {
    if (wanted === this.watched) return;
    this.watched = wanted;
    this.#failures = 0;
    this.ask();
  }

  async ask() {
    clearTimeout(this.#timer);
    const info = await fetchInfo();
    this.#failures = info ? 0 : this.#failures + 1;
    this.show(info);
    const again = info ? this.watched : this.#failures < MOST_FAILURES;
    clearTimeout(this.#timer);
    if (again) this.#timer = setTimeout(() => this.ask(), ASK_MS);
  }
}

async function fetchInfo() {
  try {
    const response = await fetch("v1/info");
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
