/** What is seen of a running turn: how long it has taken, and how far it says that it is. */
import type { layout } from "./layout.ts";
import { texts } from "./texts.ts";

/** Seconds after which it is told how long a turn takes. */
const LONG = 5;

export class Work {
  #parts;
  #turn: number | null = null;
  /** When it began, in milliseconds of a clock that nobody sets. */
  #since = 0;
  #clock: number | undefined;

  constructor(parts: Pick<ReturnType<typeof layout>, "elapsed" | "work" | "workLabel" | "workBar">) {
    this.#parts = parts;
  }

  /** @param turn the one that runs, or null */
  show(turn: number | null) {
    if (turn === this.#turn) return;
    this.#turn = turn;
    this.#since = performance.now();
    this.#parts.work.hidden = true;
    window.clearInterval(this.#clock);
    if (turn !== null) this.#clock = window.setInterval(() => this.#tick(), 1000);
    this.#tick();
  }

  /** It was running before this page came. @param time in ISO 8601 */
  began(turn: number, time: string) {
    const ago = Date.now() - Date.parse(time);
    if (turn !== this.#turn || !(ago > 0)) return;
    this.#since = performance.now() - ago;
    this.#tick();
  }

  /** Show a bar, if it is the running turn that reports. @param data `{value, max?, label?}`, or something else */
  report(turn: number | undefined, data: any) {
    const { value, max = 1, label } = data ?? {};
    if (this.#turn === null || turn !== this.#turn || !Number.isFinite(value) || !(max > 0)) return;
    const { work, workLabel, workBar } = this.#parts;
    workBar.max = max;
    workBar.value = value;
    workLabel.textContent = typeof label === "string" && label ? label : texts.progress;
    work.hidden = false;
  }

  #tick() {
    const seconds = Math.floor((performance.now() - this.#since) / 1000);
    this.#parts.elapsed.textContent = this.#turn === null || seconds < LONG ? "" : texts.elapsed(seconds);
  }
}
