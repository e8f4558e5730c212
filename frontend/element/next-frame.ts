/** Work that is done once a frame, however often it is asked for. */

/** Milliseconds after which it is done all the same: pages that nobody sees have no frames. */
const LATEST = 250;

export class NextFrame {
  #work;
  #frame: number | undefined;
  #timer: number | undefined;

  constructor(work: () => void) {
    this.#work = work;
  }

  request() {
    if (this.#frame !== undefined) return;
    this.#frame = requestAnimationFrame(() => this.now());
    this.#timer = window.setTimeout(() => this.now(), LATEST);
  }

  /** Do it at once. */
  now() {
    this.cancel();
    this.#work();
  }

  cancel() {
    if (this.#frame !== undefined) cancelAnimationFrame(this.#frame);
    window.clearTimeout(this.#timer);
    this.#frame = this.#timer = undefined;
  }
}
