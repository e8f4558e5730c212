/** How far each stream is. */
import type { Entry } from "../protocol.ts";

/** The messages and steps that are being streamed, and the piece that each waits for. */
export class Streams {
  #expected: Map<string, number> = new Map();

  /** Follow what an entry says about a stream. */
  follow({ name, data }: Entry) {
    if (data?.n != null) return; // a change of what a person wrote, which is no stream
    const [, kind, change] = /^(message|step)(_update|_remove)?$/.exec(name) ?? [];
    if (!kind) return;
    if (change === "_remove" || !data?.streaming) this.#expected.delete(data?.id);
    // A step that goes on has said in its change what came before it.
    else if (kind === "step" || !this.#expected.has(data.id)) this.#expected.set(data.id, 0);
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
