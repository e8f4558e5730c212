/**
 * How long to wait before the next attempt.
 *
 * Full jitter: a random time between nothing and a ceiling that doubles with every failure, so
 * that a thousand clients that lost the same server do not come back in the same moment.
 */
export class Backoff {
  #attempt = 0;
  #base;
  #cap;
  #random;

  /** @param options times in milliseconds */
  constructor({ base = 500, cap = 30_000, random = Math.random }: { base?: number; cap?: number; random?: () => number } = {}) {
    this.#base = base;
    this.#cap = cap;
    this.#random = random;
  }

  /** How many attempts have been made since the last success. */
  get attempt() {
    return this.#attempt;
  }

  /** The wait before the next attempt, in milliseconds. */
  next() {
    const ceiling = Math.min(this.#cap, this.#base * 2 ** this.#attempt);
    this.#attempt += 1;
    return this.#random() * ceiling;
  }

  reset() {
    this.#attempt = 0;
  }
}
