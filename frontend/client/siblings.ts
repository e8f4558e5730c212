/** The other tabs of this browser that have a chat open. */

/** What `BroadcastChannel` can do. */
export type Channel = typeof BroadcastChannel;

const NAME = "chatsessions";

/**
 * Says things to the other tabs. A browser may have no channel for that, or forbid it: then
 * nobody hears anything.
 */
export class Siblings {
  #Channel;
  #heard;
  #channel: BroadcastChannel | null = null;

  /** @param heard another tab says something */
  constructor(Channel: Channel | null, heard: (message: any) => void) {
    this.#Channel = Channel;
    this.#heard = heard;
  }

  open() {
    this.close();
    try {
      if (!this.#Channel) return;
      this.#channel = new this.#Channel(NAME);
      this.#channel.onmessage = ({ data }) => {
        if (data && typeof data === "object") this.#heard(data);
      };
    } catch {
      this.#channel = null; // forbidden, as in some private windows and frames
    }
  }

  close() {
    try {
      this.#channel?.close();
    } catch {
      // there is nothing left to close
    }
    this.#channel = null;
  }

  /** @returns whether somebody may hear it */
  say(message: object): boolean {
    try {
      this.#channel?.postMessage(message);
      return this.#channel !== null;
    } catch {
      return false;
    }
  }
}
