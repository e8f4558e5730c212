/** Whose conversation it is: the session and what shows that it is ours, and what it was begun with. */

import { ChatClientError } from "./errors.ts";
import { type Outgoing, readable, wellFormed } from "./protocol.ts";
import type { Hello, Welcome } from "./wire.ts";
import type { Remembered, TabStorage } from "./tab-storage.ts";

export type Wishes = { profile?: string; thread?: string; env?: Record<string, string>; owner?: string };

/** What follows from who is here. */
export interface Meeting {
  /** What was written by somebody else: all that waits to be sent, or what was left from before this page */
  forget: "all" | "left" | "";
  /** What was left from before this page turns out to be theirs */
  adopt: Remembered | null;
  /** Say hello anew: the server has not used what the last one brought */
  again: boolean;
}

export class SessionCredentials {
  session: string | null = null;
  token: string | null = null;
  profile: string | undefined;
  thread: string | undefined;
  env: Record<string, string>;
  /** Who is here, as far as is known. */
  owner: string | undefined;
  /** What the page asks for. */
  #given;
  #storage;
  /** What was left by somebody who was not logged in; who is here may have it if the session is theirs now. */
  #held: Remembered | null;
  /** Whether it is not known who wrote what was left. */
  #unsigned;
  #met = false;
  /** Whether a conversation of somebody who was logged in is left here, which is not asked for. */
  #lost;
  /** What was not accepted when the page was left, and the number of the next frame. */
  left: { pending: Outgoing[]; next: number; ending: boolean };

  /** @param wishes of the page */
  constructor(storage: TabStorage, { profile, thread, env = {}, owner }: Wishes) {
    this.#storage = storage;
    env = checkedEnv(env);
    this.#given = { profile, thread, env };
    this.owner = owner ?? storage.owner;
    this.env = checkedEnv({ ...env, ...storage.env });
    this.#unsigned = storage.owner === undefined && !storage.empty;
    this.#lost = storage.access === "nothing";
    const remembered = storage.load();
    // Another thread or profile than the one that is remembered is another conversation.
    const same = agrees(profile, remembered.profile) && agrees(thread, remembered.thread);
    if (same) [this.session, this.token] = [remembered.session, remembered.token];
    const ours = storage.access === "all";
    this.#held = same && !ours ? remembered : null;
    this.profile = profile ?? (ours ? remembered.profile : undefined);
    this.thread = thread ?? (ours ? remembered.thread : undefined);
    this.left = { pending: ours ? remembered.pending : [], next: ours && same ? remembered.next : 1, ending: ours && same && remembered.ending === true };
  }

  /** The first frame of a connection. @param latest messages to begin with, where none were received */
  hello(received: number, language: string | undefined, latest?: number): Hello {
    const credentials = this.session ? { session: this.session, token: this.token } : {};
    const env = Object.keys(this.env).length ? this.env : undefined;
    // What the server could not read would be refused as a whole, each time.
    const wishes = { language: readable(language, 35), profile: readable(this.profile, 200), thread: readable(this.thread, 100) };
    return { type: "hello", ...credentials, received, client_type: "webapp", ...wishes, env, owner: this.owner, bundles: true, latest };
  }

  /** Why it is another log. @param reason as the server says it */
  reasonOf(reason: Welcome["reason"]) {
    const lost = this.#lost;
    this.#lost = false;
    return lost && reason === "new" ? "unknown" : reason;
  }

  welcomed({ session, token, resumed, reason, owner }: Welcome): Meeting {
    const meeting = resumed ? this.#rejoin(owner) : this.#meet(owner);
    this.#held = null;
    this.#unsigned = false;
    this.#met = true;
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = undefined; // there is none for us
    return meeting;
  }

  /** Somebody else is here, and was not let in. */
  refused(owner: string): Meeting {
    const meeting = this.#meet(owner);
    this.#held = null;
    this.session = this.token = null;
    return meeting;
  }

  /** The session is theirs, and so is all that was written in it. */
  #rejoin(owner: string | undefined): Meeting {
    const adopt = this.#held;
    const changed = owner !== undefined && this.owner !== undefined && owner !== this.owner;
    if (owner !== undefined) this.#storage.belongsTo(owner, true);
    this.owner = owner ?? this.owner;
    this.profile ??= adopt?.profile;
    this.thread ??= adopt?.thread;
    this.env = adopt ? checkedEnv({ ...this.#given.env, ...this.#storage.env }) : this.env;
    return { forget: "", adopt, again: (changed || Boolean(adopt)) && Object.keys(this.env).length > 0 };
  }

  /** They have a session of their own now, or none. @param owner of a server that tells */
  #meet(owner: string | undefined): Meeting {
    const before = this.owner;
    if (owner === undefined) return { forget: "", adopt: null, again: false };
    this.owner = owner;
    const theirs = before === undefined ? !this.#unsigned : before === owner;
    this.#storage.belongsTo(owner, before === undefined && theirs);
    if (theirs) return { forget: "", adopt: null, again: false };
    // What the page asked for was asked for whoever was here when it was made.
    const { profile, thread, env } = this.#met ? { profile: undefined, thread: undefined, env: {} } : this.#given;
    this.#given = { profile, thread, env };
    [this.profile, this.thread, this.env] = [profile, thread, { ...env }];
    const wishes = profile !== undefined || thread !== undefined || Object.keys(env).length > 0;
    return before === undefined ? { forget: "left", adopt: null, again: false } : { forget: "all", adopt: null, again: wishes };
  }

  /** Be nobody's, until the next `welcome`. */
  restart(thread: string | undefined, profile: string | undefined) {
    this.session = this.token = null;
    this.#held = null;
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
}

function agrees(asked: string | undefined, remembered: string | undefined) {
  return asked === undefined || asked === remembered;
}

/** @returns as the server can read them */
function checkedEnv(values: Record<string, unknown>): Record<string, string> {
  const texts = Object.entries(values).map(([name, text]): [string, string] => {
    if (typeof text !== "string") throw new ChatClientError("bad_env", `The value of ${wellFormed(name)} is no text.`);
    return [wellFormed(name), wellFormed(text)];
  });
  return Object.fromEntries(texts);
}
