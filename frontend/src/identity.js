/** Whose conversation it is: the session and what shows that it is ours, and what it was begun with. */

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** @typedef {import("./storage.js").Memory} Memory */

/** @typedef {{profile?: string, thread?: string, env?: Record<string, string>}} Wishes */

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
  #given;
  #memory;

  /** @param {Memory} memory @param {Wishes} wishes of the page */
  constructor(memory, { profile, thread, env = {} }) {
    this.#memory = memory;
    this.#given = env;
    this.env = { ...env, ...memory.env };
    const remembered = memory.load();
    // Another thread or profile than the one that is remembered is another conversation.
    const same = agrees(profile, remembered.profile) && agrees(thread, remembered.thread);
    if (same) [this.session, this.token] = [remembered.session, remembered.token];
    this.profile = profile ?? remembered.profile;
    this.thread = thread ?? remembered.thread;
    /** What was not accepted, and the number of the next frame. */
    this.left = { pending: remembered.pending, next: same ? remembered.next : 1 };
  }

  /** The first frame of a connection. @param {number} received @param {string | undefined} language @returns {Frame} */
  hello(received, language) {
    const credentials = this.session ? { session: this.session, token: this.token } : {};
    const env = Object.keys(this.env).length ? this.env : undefined;
    return { type: "hello", ...credentials, received, client_type: "webapp", language, profile: this.profile, thread: this.thread, env, bundles: true };
  }

  /** @param {Frame} welcome */
  welcomed({ session, token, resumed, reason }) {
    this.session = session;
    this.token = token;
    if (!resumed && reason === "unknown") this.thread = undefined; // there is none for us
  }

  /** Be nobody's, until the next `welcome`. @param {string | undefined} thread @param {string | undefined} profile */
  restart(thread, profile) {
    this.session = this.token = null;
    this.thread = thread;
    this.profile = profile;
  }

  /** @param {Record<string, string>} values that a person gave */
  setEnv(values) {
    this.env = { ...this.#given, ...values };
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
