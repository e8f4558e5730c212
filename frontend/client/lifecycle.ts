/** What the page tells a client. */

const WAKING = ["online", "pageshow", "visibilitychange"];

/** Calls `woke` when the network or the person is back, and `left` when the page goes. */
export class PageLifecycle {
  #target;
  #handlers;

  constructor(target: EventTarget | null, handlers: { woke: () => void; left: () => void }) {
    this.#target = target;
    this.#handlers = handlers;
  }

  listen() {
    for (const type of WAKING) this.#target?.addEventListener(type, this.#wake);
    this.#target?.addEventListener("pagehide", this.#leave);
  }

  unlisten() {
    for (const type of WAKING) this.#target?.removeEventListener(type, this.#wake);
    this.#target?.removeEventListener("pagehide", this.#leave);
  }

  #leave = () => this.#handlers.left();

  #wake = () => {
    if (globalThis.document?.visibilityState !== "hidden") this.#handlers.woke();
  };
}
