/** Whose conversation it is: the session and what shows that it is ours, and what it was begun with. */

import { ChatClientError } from "./errors.js";
import { readable, wellFormed } from "./frames.js";

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** @typedef {import("./storage.js").Memory} Memory */
/** @typedef {import("./storage.js").Remembered} Remembered */

/** @typedef {{profile?: string, thread?: string, env?: Record<string, string>, owner?: string}} Wishes */

/**
 * What follows from who is here.
 * @typedef {object} Meeting
 * @property {"all" | "left" | ""} forget what was written by somebody else: all that waits to be sent, or what was left from before this page
 * @property {Remembered | null} adopt what was left from before this page turns out to be theirs
 * @property {boolean} again say hello anew: the server has not used what the last one brought
 */

export class Identity {
  /** @type {string | null} */
  session = null;
  /** @type {string | null} */
  token = null;
  /** @type {string | undefined} */
  profile;
  /** @type {string | undefined} */
  thread;
  /** @type {Record<string, string>} */
  env;
  /** Who is here, as far as is known. @type {string | undefined} */
  owner;
  /** What the page asks for. */
  #given;
  #memory;
  /** What was left by somebody who was not logged in; who is here may have it if the session is theirs now. @type {Remembered | null} */
  #held;
  /** Whether it is not known who wrote what was left. */
  #unsigned;
  #met = false;
  /** Whether a conversation of somebody who was logged in is left here, which is not asked for. */
  #lost;

  /** @param {Memory} memory @param {Wishes} wishes of the page */
  constructor(memory, { profile, thread, env = {}, owner }) {
    this.#memory = memory;
    env = checkedEnv(env);
    this.#given = { profile, thread, env };
    this.owner = owner ?? memory.owner;
    this.env = checkedEnv({ ...env, ...memory.env });
    this.#unsigned = memory.owner === undefined && !memory.empty;
    this.#lost = memory.access === "nothing";
    const remembered = memory.load();
    // Another thread or profile than the one that is remembered is another conversation.
    const same = agrees(profile, remembered.profile) && agrees(thread, remembered.thread);
    if (same) [this.session, this.token] = [remembered.session, remembered.token];
    const ours = memory.access === "all";
    this.#held = same && !ours ? remembered : null;
    this.profile = profile ?? (ours ? remembered.profile : undefined);
    this.thread = thread ?? (ours ? remembered.thread : undefined);
    /** What was not accepted, and the number of the next frame. */
    this.left = { pending: ours ? remembered.pending : [], next: ours && same ? remembered.next : 1 };
  }

  /** The first frame of a connection. @param {number} received @param {string | undefined} language @returns {Frame} */
  hello(received, language) {
    const credentials = this.session ? { session: this.session, token: this.token } : {};
    const env = Object.keys(this.env).length ? this.env : undefined;
    // What the server could not read would be refused as a whole, each time.
    const wishes = { language: readable(language, 35), profile: readable(this.profile, 200), thread: readable(this.thread, 100) };
    return { type: "hello", ...credentials, received, client_type: "webapp", ...wishes, env, owner: this.owner, bundles: true };
  }

  /** Why it is another log. @param {string} reason as the server says it */
  reasonOf(reason) {
    const lost = this.#lost;
    this.#lost = false;
    return lost && reason === "new" ? "unknown" : reason;
  }

  /** @param {Frame} welcome @returns {Meeting} */
  welcomed({ session, token, resumed, reason, owner }) {
    const meeting = resumed ? this.#rejoin(owner) : this.#meet(owner);
    this.#held = null;
    this.#unsigned = false;
    this.#met = true;
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = undefined; // there is none for us
    return meeting;
  }

  /** Somebody else is here, and was not let in. @param {string} owner @returns {Meeting} */
  refused(owner) {
    const meeting = this.#meet(owner);
    this.#held = null;
    this.session = this.token = null;
    return meeting;
  }

  /** The session is theirs, and so is all that was written in it. @param {string | undefined} owner @returns {Meeting} */
  #rejoin(owner) {
    const adopt = this.#held;
    const changed = owner !== undefined && this.owner !== undefined && owner !== this.owner;
    if (owner !== undefined) this.#memory.belongsTo(owner, true);
    this.owner = owner ?? this.owner;
    this.profile ??= adopt?.profile;
    this.thread ??= adopt?.thread;
    this.env = adopt ? checkedEnv({ ...this.#given.env, ...this.#memory.env }) : this.env;
    return { forget: "", adopt, again: (changed || Boolean(adopt)) && Object.keys(this.env).length > 0 };
  }

  /** They have a session of their own now, or none. @param {string | undefined} owner of a server that tells @returns {Meeting} */
  #meet(owner) {
    const before = this.owner;
    if (owner === undefined) return { forget: "", adopt: null, again: false };
    this.owner = owner;
    const theirs = before === undefined ? !this.#unsigned : before === owner;
    this.#memory.belongsTo(owner, before === undefined && theirs);
    if (theirs) return { forget: "", adopt: null, again: false };
    // What the page asked for was asked for whoever was here when it was made.
    const { profile, thread, env } = this.#met ? { profile: undefined, thread: undefined, env: {} } : this.#given;
    this.#given = { profile, thread, env };
    [this.profile, this.thread, this.env] = [profile, thread, { ...env }];
    const wishes = profile !== undefined || thread !== undefined || Object.keys(env).length > 0;
    return before === undefined ? { forget: "left", adopt: null, again: false } : { forget: "all", adopt: null, again: wishes };
  }

  /** Be nobody's, until the next `welcome`. @param {string | undefined} thread @param {string | undefined} profile */
  restart(thread, profile) {
    this.session = this.token = null;
    this.#held = null;
    this.thread = thread;
    this.profile = profile;
  }

  /** It is another tab's conversation: this one begins its own. */
  separate() {
    this.restart(this.#given.thread, this.profile);
  }

  /** @param {Record<string, string>} values that a person gave */
  setEnv(values) {
    values = checkedEnv(values);
    this.env = { ...this.#given.env, ...values };
    this.#memory.env = values;
  }

  /** @param {number} next the number of the next frame @param {readonly Outgoing[]} pending */
  save(next, pending) {
    const { session, token, profile, thread } = this;
    this.#memory.save({ session, token, next, pending: [...pending], profile, thread });
  }
}

/** @param {string | undefined} asked @param {string | undefined} remembered */
function agrees(asked, remembered) {
  return asked === undefined || asked === remembered;
}

/** @param {Record<string, unknown>} values @returns {Record<string, string>} as the server can read them */
function checkedEnv(values) {
  const texts = Object.entries(values).map(([name, text]) => {
    if (typeof text !== "string") throw new ChatClientError("bad_env", `The value of ${wellFormed(name)} is no text.`);
    return [wellFormed(name), wellFormed(text)];
  });
  return Object.fromEntries(texts);
}
