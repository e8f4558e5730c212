/** The watch over a connection. */
import type { Timers } from "./clock.ts";

/** At most this long for an answer to a ping. */
const MAX_PONG_WAIT = 10_000;

/** Keeps a silent line alive, and notices when it is dead. */
export class Heartbeat {
  #timers;
  #heartbeat;
  #ping;
  #dead;
  #backlog;
  #heardAt;
  #sentAt;
  /** When the unanswered ping was sent */
  #pingedAt: number | null = null;
  /** The bytes that had not left the browser when we last looked. */
  #left = 0;
  #timer: any = null;

  /** @param heartbeat milliseconds of silence before a ping */
  constructor(timers: Timers, heartbeat: number, { ping, dead, backlog }: { ping: () => void; dead: () => void; backlog: () => number }) {
    this.#timers = timers;
    this.#heartbeat = heartbeat;
    this.#ping = ping;
    this.#dead = dead;
    this.#backlog = backlog;
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
    this.#left = this.#backlog();
  }

  #check() {
    this.stop();
    const now = this.#timers.now();
    if (this.#pingedAt !== null && now >= this.#deadline()) {
      const left = this.#backlog();
      if (left >= this.#left) return this.#dead();
      // The ping waits behind what leaves slowly: the line lives.
      this.#left = left;
      this.#pingedAt = now;
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
