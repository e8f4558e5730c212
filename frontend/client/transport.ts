/** One websocket. */
import type { SentFrame } from "./protocol.ts";
import type { ServerFrame } from "./wire.ts";

export const SUBPROTOCOL = "chatsessions.v1";
const OPEN = 1;

/** A socket that speaks JSON objects, and falls silent for good once it is closed. */
export class Connection {
  #socket;

  constructor(url: string, Socket: typeof WebSocket, { opened, received, closed }: { opened: () => void; received: (frame: ServerFrame) => void; closed: (code: number) => void }) {
    this.#socket = new Socket(url, [SUBPROTOCOL]);
    this.#socket.onopen = () => opened();
    this.#socket.onmessage = ({ data }) => {
      for (const frame of decode(data)) {
        if (this.#socket.onmessage) received(frame); // one of those before may have hung up
      }
    };
    this.#socket.onclose = ({ code }) => {
      this.#detach();
      closed(code);
    };
  }

  /** @returns whether the socket took it */
  send(frame: SentFrame): boolean {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  /** Bytes that were sent and have not left the browser yet, as on a slow line. */
  get backlog() {
    return this.#socket.bufferedAmount ?? 0;
  }

  /** Hang up without waiting for the other side: a dead line would keep us for minutes. */
  close() {
    this.#detach();
    this.#socket.close(1000);
  }

  #detach() {
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
  }
}

/** What is in one message: a frame, or several together. */
function decode(text: unknown): ServerFrame[] {
  try {
    return [JSON.parse(String(text))].flat().filter((frame) => typeof frame?.type === "string");
  } catch {
    return [];
  }
}
