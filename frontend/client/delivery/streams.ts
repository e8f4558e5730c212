/** How far each stream is. */
import type { Entry } from "../protocol.ts";

/** The messages and steps that are being streamed, and the piece that each waits for. */
export class Streams {
  #expected: Map<string, number> = new Map();

  /** Follow what an entry says about a stream. */
  follow({ name, data }: Entry) {
    if (data?.n != null) return; // a change of what a person wrote, which is no stream
    if (name === "message_remove" || name === "step_remove") this.#expected.delete(data?.id);
    const isStep = name === "step" || name === "step_update";
    if (name !== "message" && name !== "message_update" && !isStep) return;
    if (!data?.streaming) this.#expected.delete(data?.id);
    // A step that goes on has said in its change what came before it.
    else if (isStep || !this.#expected.has(data.id)) this.#expected.set(data.id, 0);
  }

  /** Whether a piece is the next one. Others are old, or wait for a `stream`. */
  take(id: string, index: number) {
    if (this.#expected.get(id) !== index) return false;
    this.#expected.set(id, index + 1);
    return true;
  }

  /** @param index of the next piece */
  resync(id: string, index: number) {
    this.#expected.set(id, index);
  }

  clear() {
    this.#expected.clear();
  }
}
