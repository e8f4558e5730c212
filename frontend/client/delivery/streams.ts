/** How far each stream is. */
import type { Entry } from "../protocol.ts";

/** The piece that each message or step that is being streamed waits for, by its id. */
export class Streams extends Map<string, number> {
  /** Follow what an entry says about a stream. */
  follow({ name, data }: Entry) {
    if (data?.n != null) return; // a change of what a person wrote, which is no stream
    const [, kind, change] = /^(message|step)(_update|_remove)?$/.exec(name) ?? [];
    if (!kind) return;
    if (change === "_remove" || !data?.streaming) this.delete(data?.id);
    // A step that goes on has said in its change what came before it.
    else if (kind === "step" || !this.has(data.id)) this.set(data.id, 0);
  }

  /** Whether a piece is the next one. Others are old, or wait for a `stream`. */
  take(id: string, index: number) {
    if (this.get(id) !== index) return false;
    this.set(id, index + 1);
    return true;
  }
}
