/** Whose conversation it is: the session and what shows that it is ours, and what it was begun with. */

import { ChatClientError } from "./errors.ts";
import { type Outgoing, copied, readable } from "./protocol.ts";
import type { Hello, Welcome } from "./wire.ts";
import type { Remembered, TabStorage } from "./tab-storage.ts";

/** What a page asks for. */
interface Wishes {
  profile?: string;
  thread?: string;
  env: Record<string, string>;
}

/** What follows from who is here. */
export interface Meeting {
  /** What was written by somebody else: all that waits to be sent, or what was left from before this page */
  forget?: "all" | "left";
  /** What was left from before this page turns out to be theirs */
  adopt?: Remembered | null;
  /** Say hello anew: the server has not used what the last one brought */
  again?: boolean;
}

export class SessionCredentials {
  session: string | null = null;
  token: string | null = null;
  declare profile: string | undefined;
  declare thread: string | undefined;
  env;
  /** Who is here, as far as is known. */
  declare owner: string | undefined;
  /** What was not accepted when the page was left, and the number of the next frame. */
  declare left: { pending: Outgoing[]; next: number; ending?: boolean };
  #given: Wishes;
  #storage;
  /** What was left by somebody who was not logged in; who is here may have it if the session is theirs now. */
  #held: Remembered | null;
  /** Whether it is not known who wrote what was left. */
  #unsigned;
  #met = false;
  /** Whether a conversation of somebody who was logged in is left here, which is not asked for. */
  #lost;

  constructor(storage: TabStorage, { profile, thread, env = {}, owner }: Partial<Wishes> & { owner?: string }) {
    const remembered = storage.load();
    const ours = storage.access === "all";
    // Another thread or profile than the one that is remembered is another conversation.
    const same = (profile ?? remembered.profile) === remembered.profile && (thread ?? remembered.thread) === remembered.thread;
    const { pending, next, ending, ...left }: Remembered = ours ? remembered : { session: null, token: null, pending: [], next: 1 };
    this.#storage = storage;
    this.#given = { profile, thread, env: checkedEnv(env) };
    this.#unsigned = storage.owner === undefined && !storage.empty;
    this.#lost = storage.access === "nothing";
    this.#held = same && !ours ? remembered : null;
    if (same) ({ session: this.session, token: this.token } = remembered);
    this.owner = owner ?? storage.owner;
    this.env = this.#wanted;
    this.profile = profile ?? left.profile;
    this.thread = thread ?? left.thread;
    this.left = same ? { pending, next, ending } : { pending, next: 1 };
  }

  /** The first frame of a connection. @param latest messages to begin with, where none were received */
  hello(received: number, language: string | undefined, latest?: number): Hello {
    // What the server cannot read is left out: it would refuse the whole, each time.
    return {
      type: "hello",
      session: this.session ?? undefined,
      token: this.token ?? undefined,
      received,
      client_type: "webapp",
      language: readable(language, 35),
      profile: readable(this.profile, 200),
      thread: readable(this.thread, 100),
      env: this.#hasEnv ? this.env : undefined,
      owner: this.owner,
      bundles: true,
      latest,
    };
  }

  /** Why it is another log. @param reason as the server says it */
  reasonOf(reason: Welcome["reason"]) {
    const lost = this.#lost;
    this.#lost = false;
    return lost && reason === "new" ? "unknown" : reason;
  }

  welcomed({ session, token, resumed, reason, owner }: Welcome): Meeting {
    const meeting = resumed ? this.#rejoin(owner) : this.#meet(owner);
    this.#unsigned = false;
    this.#met = true;
    this.#held = null;
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = undefined; // there is none for us
    return meeting;
  }

  /** Somebody else is here, and was not let in. */
  refused(owner: string): Meeting {
    const meeting = this.#meet(owner);
    this.restart(this.thread, this.profile);
    return meeting;
  }

  /** The session is theirs, and so is all that was written in it. */
  #rejoin(owner: string | undefined): Meeting {
    const adopt = this.#held;
    const changed = (owner ?? this.owner) !== (this.owner ?? owner);
    if (owner !== undefined) this.#storage.belongsTo(owner, true);
    this.owner = owner ?? this.owner;
    if (adopt) {
      this.profile ??= adopt.profile;
      this.thread ??= adopt.thread;
      this.env = this.#wanted;
    }
    return { adopt, again: (changed || adopt !== null) && this.#hasEnv };
  }

  /** They have a session of their own now, or none. @param owner of a server that tells */
  #meet(owner: string | undefined): Meeting {
    const before = this.owner;
    if (owner === undefined) return {};
    const known = before !== undefined;
    const theirs = known ? before === owner : !this.#unsigned;
    this.owner = owner;
    this.#storage.belongsTo(owner, theirs && !known);
    if (theirs) return {};
    // What the page asked for was asked for whoever was here when it was made.
    if (this.#met) this.#given = { env: {} };
    ({ profile: this.profile, thread: this.thread, env: this.env } = this.#given);
    return known ? { forget: "all", again: this.#hasEnv || (this.profile ?? this.thread) !== undefined } : { forget: "left" };
  }

  /** Be nobody's, until the next `welcome`. */
  restart(thread: string | undefined, profile: string | undefined) {
    this.session = this.token = this.#held = null;
    this.thread = thread;
    this.profile = profile;
  }

  /** It is another tab's conversation: this one begins its own. */
  separate() {
    this.restart(this.#given.thread, this.profile);
  }

  /** @param values that a person gave */
  setEnv(values: Record<string, string>) {
    values = checkedEnv(values);
    this.env = { ...this.#given.env, ...values };
    this.#storage.env = values;
  }

  /** @param next the number of the next frame @returns whether all that is pending is written down */
  save(next: number, pending: readonly Outgoing[], ending: boolean) {
    const { session, token, profile, thread } = this;
    return this.#storage.save({ session, token, next, pending: [...pending], profile, thread, ending: ending || undefined });
  }

  /** What the page gave, and what the person did. */
  get #wanted() {
    return { ...this.#given.env, ...copied(this.#storage.env) };
  }

  get #hasEnv() {
    return Object.keys(this.env).length > 0;
  }
}

/** @returns as the server can read them */
function checkedEnv(values: Record<string, unknown>) {
  for (const [name, text] of Object.entries(values)) if (typeof text !== "string") throw new ChatClientError("bad_env", `${name} is no text`);
  return copied(values as Record<string, string>);
}
