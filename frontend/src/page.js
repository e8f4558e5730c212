/** What the page and its sibling tabs tell a client. */

const WAKING = ["online", "pageshow", "visibilitychange"];

/**
 * Calls `woke` when the network or the person is back, `left` when the page goes, and `sibling` when a duplicate of this tab
 * got a new token for its session: the old one will soon be worth nothing.
 */
export class Page {
  #target;
  #Channel;
  #handlers;
  /** @type {BroadcastChannel | null} */
  #channel = null;

  /**
   * @param {EventTarget | null} target
   * @param {typeof BroadcastChannel | null} Channel
   * @param {{woke: () => void, left: () => void, sibling: (session: string, token: string) => void}} handlers
   */
  constructor(target, Channel, handlers) {
    this.#target = target;
    this.#Channel = Channel;
    this.#handlers = handlers;
  }

  listen() {
    for (const type of WAKING) this.#target?.addEventListener(type, this.#wake);
    this.#target?.addEventListener("pagehide", this.#leave);
    if (!this.#Channel) return;
    this.#channel = new this.#Channel("chatsessions");
    this.#channel.onmessage = ({ data }) => {
      if (typeof data?.session === "string" && typeof data.token === "string") {
        this.#handlers.sibling(data.session, data.token);
      }
    };
  }

  unlisten() {
    for (const type of WAKING) this.#target?.removeEventListener(type, this.#wake);
    this.#target?.removeEventListener("pagehide", this.#leave);
    this.#channel?.close();
    this.#channel = null;
  }

  /** @param {string} session @param {string} token */
  share(session, token) {
    this.#channel?.postMessage({ session, token });
  }

  #leave = () => this.#handlers.left();

  #wake = () => {
    if (globalThis.document?.visibilityState !== "hidden") this.#handlers.woke();
  };
}
