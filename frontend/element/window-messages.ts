/** What a page that embeds the chat in a frame and the chat's handlers say to each other. */
import type { TabStorage } from "../client/tab-storage.ts";

/** The name of such events, both ways. */
export const NAME = "window_message";

export class WindowMessages {
  #window;
  #origin;
  #received;

  /**
   * @param window of the chat; its parent is whom it talks to
   * @param origin of the parent; null: nobody is talked to, nobody is heard
   * @param received from the parent
   */
  constructor(window: Window, origin: () => string | null, received: (data: any) => void) {
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

  /** Tell the parent an entry of the log: once, however often the log is read. */
  relay({ session, storage }: { session: string | null; storage: TabStorage }, seq: number, data: any) {
    const before = storage.recall("relayed");
    if (before?.session === session && before?.seq >= seq) return;
    if (this.post(data)) storage.keep("relayed", { session, seq });
  }

  /** Tell the parent. @returns whether there was one to tell */
  post(data: any): boolean {
    const { parent } = this.#window;
    const origin = exact(this.#origin());
    if (!origin || parent === this.#window) return false;
    parent.postMessage(data, origin);
    return true;
  }

  #hear = ({ source, origin, data }: MessageEvent) => {
    const expected = exact(this.#origin());
    if (expected && origin === expected && source === this.#window.parent && source !== this.#window) this.#received(data ?? null);
  };
}

/** An origin as browsers write it. "*" is none: everybody could listen. */
function exact(text: string | null) {
  if (!text || !URL.canParse(text)) return null;
  const { origin } = new URL(text);
  return origin === "null" ? null : origin;
}
