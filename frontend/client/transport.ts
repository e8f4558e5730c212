/** One websocket. */
import type { SentFrame } from "./protocol.ts";
import type { ServerFrame } from "./wire.ts";

export const SUBPROTOCOL = "chatsessions.v1";
const OPEN = 1;

export type Connection = ReturnType<typeof connect>;

/** Open a socket that speaks JSON objects, and falls silent for good once it is closed. */
export function connect(url: string, Socket: typeof WebSocket, opened: () => void, received: (frame: ServerFrame) => void, closed: (code: number) => void) {
  const socket = new Socket(url, [SUBPROTOCOL]);
  const detach = () => {
    socket.onopen = socket.onmessage = socket.onclose = null;
  };
  socket.onopen = opened;
  socket.onmessage = ({ data }) => {
    for (const frame of decode(data)) {
      if (socket.onmessage) received(frame); // one of those before may have hung up
    }
  };
  socket.onclose = ({ code }) => {
    detach();
    closed(code);
  };
  return {
    /** @returns whether the socket took it */
    send(frame: SentFrame): boolean {
      if (socket.readyState !== OPEN) return false;
      socket.send(JSON.stringify(frame));
      return true;
    },
    /** Bytes that were sent and have not left the browser yet, as on a slow line. */
    get backlog() {
      return socket.bufferedAmount ?? 0;
    },
    /** Hang up without waiting for the other side: a dead line would keep us for minutes. */
    close() {
      detach();
      socket.close(1000);
    },
  };
}

/** What is in one message: a frame, or several together. */
function decode(text: string): ServerFrame[] {
  try {
    return [JSON.parse(text)].flat().filter((frame) => typeof frame?.type === "string");
  } catch {
    return [];
  }
}
