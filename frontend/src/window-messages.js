/** What a page that embeds the chat in a frame and the chat's handlers say to each other. */

/** The name of such events, both ways. */
export const NAME = "window_message";

export class WindowMessages {
  #window;
  #origin;
  #received;

  /**
   * @param {Window} window of the chat; its parent is whom it talks to
   * @param {() => string | null} origin of the parent; null: nobody is talked to, nobody is heard
   * @param {(data: any) => void} received from the parent
   */
  constructor(window, origin, received) {
    this.#window = window;
    this.#origin = origin;
    this.#received = received;
  }

  listen() {
    this.#window.addEventListener("message", this.#hear);
  }

  unlisten() {
    this.#window.removeEventListener("message", this.#hear);
  }

  /**
   * Tell the parent an entry of the log: once, however often the log is read.
   * @param {{session: string | null, memory: import("./storage.js").Memory}} client
   * @param {number} seq
   * @param {any} data
   */
  relay({ session, memory }, seq, data) {
    const before = memory.recall("relayed");
    if (before?.session === session && before?.seq >= seq) return;
    if (this.post(data)) memory.keep("relayed", { session, seq });
  }

  /** Tell the parent. @param {any} data @returns {boolean} whether there was one to tell */
  post(data) {
    const { parent } = this.#window;
    const origin = exact(this.#origin());
    if (!origin || parent === this.#window) return false;
    parent.postMessage(data, origin);
    return true;
  }

  /** @param {MessageEvent} event */
  #hear = ({ source, origin, data }) => {
    const expected = exact(this.#origin());
    if (expected && origin === expected && source === this.#window.parent && source !== this.#window) this.#received(data ?? null);
  };
}

/** An origin as browsers write it. "*" is none: everybody could listen. @param {string | null} text */
function exact(text) {
  if (!text || !URL.canParse(text)) return null;
  const { origin } = new URL(text);
  return origin === "null" ? null : origin;
}
