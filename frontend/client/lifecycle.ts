/** What the page tells a client. */

const WAKING = ["online", "pageshow", "visibilitychange"];

export interface PageHandlers {
  /** The network or the person is back. */
  woke: () => void;
  /** Nobody looks at the page: browsers slow its timers. */
  hid: () => void;
  /** There is no network. */
  offline: () => void;
  /** The page goes. */
  left: () => void;
}

/** Listens to the page, which may be none: outside of a browser. */
export class PageLifecycle {
  #target;
  #handlers;

  constructor(target: EventTarget | null, handlers: PageHandlers) {
    this.#target = target;
    this.#handlers = handlers;
  }

  get hidden() {
    return globalThis.document?.visibilityState === "hidden";
  }

  listen() {
    for (const [type, listener] of this.#listeners) this.#target?.addEventListener(type, listener);
  }

  unlisten() {
    for (const [type, listener] of this.#listeners) this.#target?.removeEventListener(type, listener);
  }

  #leave = () => this.#handlers.left();
  #lose = () => this.#handlers.offline();
  #look = () => (this.hidden ? this.#handlers.hid() : this.#handlers.woke());

  #listeners: [string, () => void][] = [...WAKING.map((type): [string, () => void] => [type, this.#look]), ["offline", this.#lose], ["pagehide", this.#leave]];
}
