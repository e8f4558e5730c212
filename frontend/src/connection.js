/** One websocket, and the watch over it. */

/** @typedef {{type: string, [key: string]: any}} Frame */

/** @typedef {import("./timers.js").Timers} Timers */

export const SUBPROTOCOL = "chatsessions.v1";
const OPEN = 1;

/** A socket that speaks JSON objects, and falls silent for good once it is closed. */
export class Connection {
  #socket;

  /**
   * @param {string} url
   * @param {typeof WebSocket} Socket
   * @param {{opened: () => void, received: (frame: Frame) => void, closed: (code: number) => void}} handlers
   */
  constructor(url, Socket, { opened, received, closed }) {
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

  /** @param {Frame} frame @returns {boolean} whether the socket took it */
  send(frame) {
    if (this.#socket.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
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

/** What is in one message: a frame, or several together. @param {unknown} text @returns {Frame[]} */
function decode(text) {
  try {
    return [JSON.parse(String(text))].flat().filter((frame) => typeof frame?.type === "string");
  } catch {
    return [];
  }
}

/** At most this long for an answer to a ping. */
const MAX_PONG_WAIT = 10_000;

/** Keeps a silent line alive, and notices when it is dead. */
export class Monitor {
  #timers;
  #heartbeat;
  #ping;
  #dead;
  #heardAt;
  #sentAt;
  /** @type {number | null} when the unanswered ping was sent */
  #pingedAt = null;
  /** @type {any} */
  #timer = null;

  /**
   * @param {Timers} timers
   * @param {number} heartbeat milliseconds of silence before a ping
   * @param {{ping: () => void, dead: () => void}} handlers
   */
  constructor(timers, heartbeat, { ping, dead }) {
    this.#timers = timers;
    this.#heartbeat = heartbeat;
    this.#ping = ping;
    this.#dead = dead;
    this.#heardAt = this.#sentAt = timers.now();
    this.#check();
  }

  heard() {
    this.#heardAt = this.#timers.now();
    this.#pingedAt = null;
  }

  sent() {
    this.#sentAt = this.#timers.now();
  }

  /** Ask at once whether the line lives, as after a sleep. */
  probe() {
    if (this.#pingedAt === null) this.#askNow();
    this.#check();
  }

  stop() {
    this.#timers.clearTimeout(this.#timer);
  }

  #askNow() {
    this.#pingedAt = this.#timers.now();
    this.#ping();
  }

  #check() {
    this.stop();
    const now = this.#timers.now();
    if (this.#pingedAt !== null && now >= this.#deadline()) {
      this.#dead();
      return;
    }
    if (this.#pingedAt === null && now >= this.#deadline()) this.#askNow();
    this.#timer = this.#timers.setTimeout(() => this.#check(), this.#deadline() - now);
  }

  /** When to look again: at the end of the silence, or of the wait for an answer. */
  #deadline() {
    if (this.#pingedAt !== null) return this.#pingedAt + Math.min(this.#heartbeat, MAX_PONG_WAIT);
    return Math.min(this.#heardAt, this.#sentAt) + this.#heartbeat;
  }
}
