/** Which tab has a session: a duplicate of it has the same storage, and is another one. */
import type { Timers } from "./clock.ts";
import { uuid } from "./protocol.ts";
import type { Siblings } from "./siblings.ts";

/** What `navigator.locks` can do. */
export type Locks = Pick<LockManager, "request">;

/** Whether this tab has a session. */
export interface Hold {
  /** Hold it instead of any other; `patience`: milliseconds to wait for another page to leave it; `told`: at once, where nobody has to be asked */
  take: (session: string, patience: number, told: (ours: boolean) => void) => void;
  /** Hold it instead of any other: the server says that it is ours */
  keep: (session: string) => void;
  /** Hold nothing */
  release: () => void;
  /** What another tab says */
  heard: (message: any) => void;
}

/** @param locks that only pages with TLS have, and those on `localhost` */
export function holdBy(locks: Locks | null, siblings: Siblings, timers: Timers): Hold {
  return locks ? new Lock(locks, timers) : new Question(siblings, timers);
}

/** Holds a session by a lock of the browser's that goes with the page. */
class Lock implements Hold {
  #locks;
  #timers;
  /** What is held, or asked for. */
  #session: string | null = null;
  #held = false;
  #told: (ours: boolean) => void = () => {};
  /** Gives it up, or stops asking. */
  #leave = () => {};

  constructor(locks: Locks, timers: Timers) {
    this.#locks = locks;
    this.#timers = timers;
  }

  take(session: string, patience: number, told: (ours: boolean) => void) {
    if (this.#held && this.#session === session) return told(true);
    this.#told = told;
    if (this.#session === session) return undefined; // it is on its way
    this.release();
    this.#told = told;
    this.#session = session;
    this.#ask(session, patience);
    return undefined;
  }

  keep(session: string) {
    this.take(session, KEEPING, () => {});
  }

  release() {
    this.#leave();
    this.#leave = () => {};
    this.#told = () => {};
    this.#session = null;
    this.#held = false;
  }

  heard() {}

  #ask(session: string, patience: number) {
    const stop = new AbortController();
    const timer = this.#timers.setTimeout(() => stop.abort(), patience);
    this.#leave = () => {
      this.#timers.clearTimeout(timer);
      stop.abort();
    };
    const current = () => this.#session === session && this.#leave === leave;
    const leave = this.#leave;
    const granted = () =>
      new Promise((resolve: (value: void) => void) => {
        this.#timers.clearTimeout(timer);
        if (!current()) return resolve();
        this.#held = true;
        this.#leave = resolve;
        const told = this.#told;
        queueMicrotask(() => told(true));
      });
    // Some browsers throw where others refuse.
    const request = async () => this.#locks.request(`chatsessions:${session}`, { signal: stop.signal }, granted);
    request().catch((error: Error) => {
      if (!current()) return;
      this.#timers.clearTimeout(timer);
      const told = this.#told;
      this.release();
      told(error.name !== "AbortError"); // where locks are forbidden there are none
    });
  }
}

/** Milliseconds to wait for the lock of a session that the server says is ours. */
const KEEPING = 5_000;
/** Milliseconds for another tab's answer. */
const ANSWER_WITHIN = 150;

/**
 * Holds a session by asking the other tabs whether one of them has it: without an answer nobody has.
 * Of two that ask at the same time, as tabs restored together do, the one with the lower id has it.
 */
class Question implements Hold {
  #siblings;
  #timers;
  #id = uuid();
  /** What is held, or asked for. */
  #session: string | null = null;
  /** While the question is open: who waits for its answer. */
  #told: ((ours: boolean) => void) | null = null;
  #timer: any = null;

  constructor(siblings: Siblings, timers: Timers) {
    this.#siblings = siblings;
    this.#timers = timers;
  }

  /** @param _patience a page that has left does not answer */
  take(session: string, _patience: number, told: (ours: boolean) => void) {
    if (this.#session === session) {
      if (!this.#told) return told(true);
      this.#told = told;
      return undefined;
    }
    this.keep(session);
    if (!this.#siblings.say({ asks: session, by: this.#id })) return told(true);
    this.#told = told;
    this.#timer = this.#timers.setTimeout(() => this.#answered(true), ANSWER_WITHIN);
    return undefined;
  }

  keep(session: string) {
    this.release();
    this.#session = session;
  }

  release() {
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    this.#session = null;
  }

  heard({ asks, has, by, to }: any) {
    if (this.#session === null) return;
    if (has === this.#session && to === this.#id && this.#told) this.#answered(false);
    else if (asks === this.#session && typeof by === "string") this.#asked(by);
  }

  /** @param by who asks for what we hold, or ask for too */
  #asked(by: string) {
    if (this.#told && by < this.#id) this.#answered(false);
    else this.#siblings.say({ has: this.#session, to: by });
  }

  #answered(ours: boolean) {
    const told = this.#told;
    this.#timers.clearTimeout(this.#timer);
    this.#told = null;
    if (!ours) this.#session = null;
    told?.(ours);
  }
}
