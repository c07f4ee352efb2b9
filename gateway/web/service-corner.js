/**
 * The corner that says which model is served, what it understands, and how busy it is.
 *
 * @typedef {object} ServerInfo
 * @property {string} model_name
 * @property {string} description
 * @property {string} version
 * @property {number} slots_total
 * @property {number} slots_free
 */

const ASK_MS = 5_000;
/** How often a service that does not answer is asked again. */
const MAX_FAILURES = 12;

/**
 * Asks `/v1/info` until it is answered, and from then on only while it is `watched`. Each request
 * starts a service that has scaled to zero, so a page that is merely open must not ask.
 */
export class ServiceCorner {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;

  /** @param {(info: ServerInfo | null) => void} show null where the service does not answer */
  constructor(show) {
    this.show = show;
    this.watched = false;
    this.ask();
  }

  /** @param {boolean} wanted */
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
    const again = info ? this.watched : this.#failures < MAX_FAILURES;
    clearTimeout(this.#timer);
    if (again) this.#timer = setTimeout(() => this.ask(), ASK_MS);
  }
}

/** @returns {Promise<ServerInfo | null>} */
async function fetchInfo() {
  try {
    const response = await fetch("v1/info");
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}
