/**
 * A chat session over a websocket that may break at any time.
 *
 *     const client = new ChatClient("/ws/counter/");
 *     client.addEventListener("event", ({ detail }) => console.log(detail.seq, detail.name, detail.data));
 *     client.connect();
 *     client.sendMessage("Hello!");
 *
 * Whatever happens to the line, `event` reports the session's log completely and in order, and
 * what was sent is accepted exactly once. A reload of the page continues the session: the tab's
 * `sessionStorage` remembers it, together with what was not accepted yet.
 *
 * Events (all carry their data in `detail`):
 *
 * | event | detail | when |
 * |---|---|---|
 * | `state` | `StateDetail` | the connection's state changed |
 * | `owner` | `{}` | somebody else is logged in now: what was written and not sent is gone, here too |
 * | `reset` | `{reason}`: `new`, `unknown`, `ended`, `expired`, `gap` | forget what was shown: another log, or a later part of it, follows |
 * | `ready` | `{}` | the replay is complete; what follows is live |
 * | `event` | `{seq, name, data, turn?, n?, live}` | one entry of the log. `n`: it is our own |
 * | `stream` | `{message, content}` | a streaming message's whole content so far |
 * | `token` | `{message, index, text}` | a piece to append to it |
 * | `turn` | `{turn, name, status}` or `null` | what the server is working on |
 * | `pending` | array of frames | what was sent and is not accepted yet, oldest first |
 * | `notice` | `{code, detail, frame?, retryAfter?}` | something was refused. `frame`: our frame that will never be sent |
 *
 * @module
 */
import { Backoff } from "./backoff.js";
import { Connection, Monitor } from "./connection.js";
import { Inbox, Outbox, Streams, byteLength } from "./delivery.js";
import { FINAL_CODES, MAX_DEPTH, NAME, RETRY_CODES, asEntry, asTurn, copied, isTooDeep, uuid } from "./frames.js";
import { ChatClientError } from "./errors.js";
import { holdBy } from "./hold.js";
import { Identity } from "./identity.js";
import { Page } from "./page.js";
import { Acknowledger, Sender } from "./sender.js";
import { Siblings } from "./siblings.js";
import { Memory, websocketUrl } from "./storage.js";
import { Timeouts, systemTimers } from "./timers.js";

export { ChatClientError };

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./timers.js").Timers} Timers */
/** @typedef {import("./delivery.js").Entry} Entry */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */

/**
 * `connecting`; `online`; `offline`: will try again; `replaced`: the conversation went on in another
 * tab or device; `ended`: it is over; `refused`: the server will not have us; `closed`: by `close()`.
 * @typedef {"connecting" | "online" | "offline" | "replaced" | "ended" | "refused" | "closed"} State
 */

/**
 * @typedef {object} StateDetail
 * @property {State} state
 * @property {number} attempt how many attempts have failed in a row
 * @property {number} [retryIn] seconds until the next attempt (`offline`)
 * @property {string} [reason] why it ended, or the server's error code (`ended`, `refused`; `offline`, if it gave one)
 * @property {string} [detail] the server's words for it (`refused`, `offline`)
 * @property {number} [code] the close code
 */

/**
 * @typedef {object} ChatClientOptions
 * @property {string} [profile] the chat profile to ask for
 * @property {string} [thread] an old thread to go on with
 * @property {string} [language] default: the browser's
 * @property {Record<string, string>} [env] values for the handlers; never stored
 * @property {string} [owner] who is here, as the template tag says it: what another user left in this tab is forgotten at once
 * @property {string} [key] which of several chats of one address on this page it is; each has a session of its own
 * @property {Storage | null} [storage] default: `sessionStorage`; `null`: none
 * @property {typeof WebSocket} [WebSocket]
 * @property {typeof BroadcastChannel | null} [BroadcastChannel] how tabs of one session share its token, and how a duplicate of a tab asks whether it is one where there are no locks
 * @property {import("./hold.js").Locks | null} [locks] by which a duplicate of a tab knows that it is one; default: the browser's
 * @property {EventTarget | null} [page] where `online`, `pageshow` and `visibilitychange` happen
 * @property {Timers} [timers]
 * @property {() => number} [random]
 */

/** Milliseconds for the way from the first byte to `welcome`. */
const WELCOME_TIMEOUT = 10_000;
/** Milliseconds that a connection must hold to count as a success. */
const SETTLED_AFTER = 5_000;
/** Seconds between pings on a silent line, if the server names none. */
const HEARTBEAT = 20;
/** Milliseconds to wait for the page before this one, which has left but may not be gone; and for any other. */
const GOING = 5_000;
const STAYING = 300;
/** How much may wait to be sent and still be written down with every change; what is more is, every so many milliseconds. */
const SAVED_AT_ONCE = 50;
const SAVE_EVERY = 2_000;

/** States in which nothing can be sent. @type {Set<State>} */
const FINAL_STATES = new Set(["replaced", "ended", "refused"]);

/** An event of a `ChatClient`. @template T */
export class ChatClientEvent extends Event {
  /** @param {string} type @param {T} detail */
  constructor(type, detail) {
    super(type);
    this.detail = detail;
  }
}

export class ChatClient extends EventTarget {
  #url;
  #options;
  #timers;
  #timeouts;
  #saving;
  #backoff;
  #memory;
  #identity;
  #hold;
  /** Whether the page that had the session before was left. */
  #returned;
  #page;
  #siblings;
  #sender;
  #acknowledger;
  #inbox = new Inbox();
  #streams = new Streams();

  /** @type {StateDetail} */
  #state = { state: "closed", attempt: 0 };
  /** @type {Frame | null} */
  #turn = null;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Monitor | null} */
  #monitor = null;
  #welcomed = false;
  #reached = false;
  /** The last error frame of this connection: the reason for a close that may follow. @type {Frame | null} */
  #lastError = null;
  /** The end of the log at the `welcome`, until the replay has reached it. @type {number | null} */
  #replayEnd = null;
  /** Who waits for a pong, in the order of their pings. @type {string[]} */
  #asking = [];
  /** How many of our events may be on the wire. @type {number | undefined} */
  #window;
  /** The end of the log at the last pong. */
  #promisedHead = 0;
  #maxFrame = Infinity;
  #ending = false;

  /**
   * @param {string} url of the websocket; a relative one belongs to the page's origin
   * @param {ChatClientOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    this.#url = websocketUrl(url);
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
    this.#timeouts = new Timeouts(this.#timers);
    this.#saving = new Timeouts(this.#timers);
    this.#backoff = new Backoff({ random: options.random });
    this.#memory = new Memory(this.#url, options.storage, { owner: options.owner, key: options.key });
    this.#identity = new Identity(this.#memory, options);
    this.#returned = this.#memory.arrive();
    const { page = globalThis.window ?? null, BroadcastChannel = globalThis.BroadcastChannel ?? null, locks = globalThis.navigator?.locks ?? null } = options;
    this.#page = new Page(page, { woke: () => this.#woke(), left: () => this.#left() });
    this.#siblings = new Siblings(BroadcastChannel, (message) => this.#heard(message));
    this.#hold = holdBy(locks, this.#siblings, this.#timers);
    const { left } = this.#identity;
    this.#sender = new Sender(new Outbox(left.pending, left.next), this.#timers, {
      write: (frame) => this.#write(frame),
      ping: () => this.#ping("sender"),
      changed: () => this.#pendingChanged(),
    });
    this.#acknowledger = new Acknowledger(this.#timers, () => this.#write({ type: "ack", seq: this.#inbox.received }));
  }

  /** The state and what belongs to it. */
  get state() {
    return this.#state;
  }

  /** Where it connects to. */
  get url() {
    return this.#url;
  }

  /** Whether the server has welcomed us, on this page. */
  get reached() {
    return this.#reached;
  }

  /** The session's id, once there is one. */
  get session() {
    return this.#identity.session;
  }

  /** What shows that the session is ours, for what goes beside the line: files. It changes with every connection. */
  get token() {
    return this.#identity.token;
  }

  /** The profile that the session was begun with, or will be. */
  get profile() {
    return this.#identity.profile;
  }

  set profile(name) {
    this.#identity.profile = name;
  }

  /** The old thread that the session goes on with, if it is not one of its own. */
  get thread() {
    return this.#identity.thread;
  }

  /** Values for the handlers, by their names. */
  get env() {
    return { ...this.#identity.env };
  }

  /** What this tab remembers of the chat. */
  get memory() {
    return this.#memory;
  }

  /** The highest `seq` up to which everything has been reported. */
  get received() {
    return this.#inbox.received;
  }

  /** The running turn, or null. */
  get turn() {
    return this.#turn;
  }

  /** What was sent and is not accepted yet, oldest first. */
  get pending() {
    return [...this.#sender.items];
  }

  /** Text that was written and not sent; it survives a reload. */
  get draft() {
    return this.#memory.draft;
  }

  set draft(text) {
    this.#memory.draft = text;
  }

  /** Connect, or try again at once. */
  connect() {
    const { state } = this.#state;
    if (state === "connecting" || state === "online") return;
    if (state === "closed") this.#listen();
    this.#open();
  }

  /** Hang up. The session goes on, and so can this client: `connect()`. */
  close() {
    this.#hangUp();
    this.#saveNow();
    this.#hold.release();
    this.#page.unlisten();
    this.#siblings.close();
    this.#setState("closed");
  }

  /** Take the conversation back from another tab or device. */
  takeOver() {
    this.connect();
  }

  /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. @param {Record<string, string>} values */
  setEnv(values) {
    this.#identity.setEnv(values);
    if (this.#state.state !== "closed" && this.#state.state !== "ended") this.#open();
  }

  /**
   * Begin a new conversation. What the old one has not accepted goes to the new one.
   * @param {{thread?: string, profile?: string}} [options] an old thread to go on with; another profile
   */
  newSession({ thread, profile = this.profile } = {}) {
    this.#hangUp();
    this.#identity.restart(thread, profile);
    this.#ending = false;
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#backoff.reset();
    if (this.#state.state === "closed") this.#listen();
    this.#open();
  }

  /**
   * Send an event to the session's handlers. It is kept until the server has stored it.
   * @param {string} name
   * @param {any} [data] anything JSON can say
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  send(name, data = {}) {
    return this.#queue({ type: "event", name, data });
  }

  /** Send what a person wrote. @param {string} text @param {string[]} [files] ids of files that were uploaded */
  sendMessage(text, files = []) {
    return this.send("message", { id: uuid(), content: text, ...(files.length ? { files } : {}) });
  }

  /**
   * Answer an `ask` event. Like an event it is kept until the server has stored it.
   * @param {string} call
   * @param {any} data by the kind of the question: `{content}`, `{id}` of an action, `{files}`: ids
   * @returns {Outgoing} the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  answer(call, data) {
    return this.#queue({ type: "answer", call, data });
  }

  /** Cancel the running turn. */
  stop() {
    this.#write({ type: "stop" });
  }

  /** End the session for good; if the line is down, as soon as it is back. */
  end() {
    this.#ending = true;
    if (this.#welcomed) this.#write({ type: "end" });
  }

  // --- the line ---------------------------------------------------------------------------------

  #open() {
    const { state, reason, detail } = this.#state;
    this.#hangUp();
    this.#lastError = null;
    this.#setState("connecting", state === "offline" && reason ? { reason, detail } : {});
    this.#timeouts.start("welcome", WELCOME_TIMEOUT, () => this.#drop());
    try {
      this.#connection = new Connection(this.#url, this.#options.WebSocket ?? WebSocket, {
        opened: () => this.#hello(),
        received: (frame) => this.#receive(frame),
        closed: (code) => this.#closed(code),
      });
    } catch (error) {
      this.#hangUp();
      this.#setState("refused", { detail: String(error) });
    }
  }

  /** Say hello, once it is known that the session is not another tab's, whose duplicate this one is. */
  #hello() {
    const { session } = this;
    const connection = this.#connection;
    if (!session) return this.#sayHello();
    this.#hold.take(session, this.#returned ? GOING : STAYING, (ours) => {
      if (!ours) this.#separate();
      if (connection === this.#connection) this.#sayHello();
    });
  }

  /** Another tab has the session, and sends what waits in it. */
  #separate() {
    this.#identity.separate();
    this.#sender.forget(this.#identity.left.pending);
    this.#sender.restart();
  }

  #sayHello() {
    const { language = globalThis.navigator?.language } = this.#options;
    this.#write(this.#identity.hello(this.#inbox.received, language));
  }

  /** Leave the line, whatever its state, with all that runs on its behalf. */
  #hangUp() {
    this.#connection?.close();
    this.#connection = null;
    this.#monitor?.stop();
    this.#monitor = null;
    this.#welcomed = false;
    this.#asking = [];
    this.#replayEnd = null;
    this.#sender.halt();
    this.#acknowledger.halt();
    this.#timeouts.cancelAll();
  }

  /** The line is of no use any more: come back on another. */
  #drop() {
    this.#hangUp();
    this.#retryLater();
  }

  /** @param {number} code */
  #closed(code) {
    const error = this.#welcomed ? null : this.#lastError;
    const unreadable = code === 4500 && this.#welcomed && this.#lastError?.code === "bad_frame";
    this.#hangUp();
    if (unreadable && this.#sender.searchAnew()) return this.#retryLater(code);
    if (code === 1009) this.#tooLarge(this.#sender.discardLargest());
    if (code < 4500 || code > 4999) this.#retryLater(code, error);
    else if (code === 4509) this.#setState("replaced", { code });
    else if (code === 4503) this.#ended(undefined, code);
    else this.#setState("refused", { code, reason: this.#lastError?.code, detail: this.#lastError?.detail });
  }

  /** @param {string} [reason] @param {number} [code] */
  #ended(reason, code) {
    this.#hangUp();
    this.#ending = false;
    this.#setTurn(null);
    this.#setState("ended", { reason, code });
  }

  /** @param {number} [code] @param {Frame | null} [error] that came instead of a welcome */
  #retryLater(code, error) {
    const delay = this.#backoff.next();
    this.#timeouts.start("retry", delay, () => this.#open());
    this.#setState("offline", { retryIn: delay / 1000, code, ...(error ? { reason: error.code, detail: error.detail } : {}) });
  }

  /** @param {"sender" | "monitor"} asking */
  #ping(asking) {
    this.#asking.push(asking);
    this.#write({ type: "ping" });
  }

  /** @param {Frame} frame */
  #write(frame) {
    if (this.#connection?.send(frame)) this.#monitor?.sent();
  }

  // --- frames in --------------------------------------------------------------------------------

  /** @param {Frame} frame */
  #receive(frame) {
    this.#monitor?.heard();
    if (frame.type === "error") this.#error(frame);
    else if (frame.type === "welcome") this.#welcome(frame);
    else if (frame.type === "ended") this.#ended(frame.reason);
    else if (this.#welcomed) this.#receiveLive(frame);
  }

  /** @param {Frame} frame */
  #receiveLive(frame) {
    if (frame.type === "event") this.#entry(frame);
    else if (frame.type === "accepted") this.#accepted(frame);
    else if (frame.type === "token") this.#tokenPiece(frame);
    else if (frame.type === "stream") this.#stream(frame);
    else if (frame.type === "turn") this.#setTurn(frame.status === "running" ? frame : null, frame);
    else if (frame.type === "pong") this.#pong(frame);
  }

  /** @param {Frame} welcome */
  #welcome(welcome) {
    const { session, token, resumed, reason, received, first, head, turn, heartbeat, max_frame } = welcome;
    this.#timeouts.cancel("welcome");
    this.#reached = true;
    const meeting = this.#identity.welcomed(welcome);
    this.#met(meeting);
    this.#maxFrame = max_frame ?? Infinity;
    this.#window = Number.isInteger(welcome.window) ? welcome.window : undefined;
    this.#inbox.resume();
    // This also stores the token, before anything is sent: our first frame makes the old one invalid.
    this.#sender.welcome(received ?? 0, resumed);
    this.#saveNow();
    this.#siblings.say({ session, token });
    this.#hold.keep(session);
    this.#returned = false;
    if (meeting.forget) this.#emit("owner", {});
    if (meeting.again) return resumed ? this.#open() : this.newSession({ thread: this.thread });
    if (!resumed) this.#restartLog(first - 1, this.#identity.reasonOf(reason));
    else if (first > this.#inbox.received + 1) this.#restartLog(first - 1, "gap");
    else if (head < this.#inbox.received) {
      // The server's log is shorter than ours, restored from a backup perhaps: read it anew.
      this.#restartLog(0, "gap");
      return this.#drop();
    }
    this.#begin(heartbeat ?? HEARTBEAT, head, turn, Boolean(resumed));
  }

  /** What waits to be sent is theirs who are here, and nobody else's. @param {import("./identity.js").Meeting} meeting */
  #met({ forget, adopt }) {
    if (adopt) this.#sender.adopt(adopt.pending, adopt.next);
    if (forget === "all") this.#sender.forget();
    else if (forget === "left") this.#sender.forget(this.#identity.left.pending);
  }

  /** @param {number} heartbeat @param {number} head @param {any} turn @param {boolean} resumed */
  #begin(heartbeat, head, turn, resumed) {
    this.#welcomed = true;
    this.#promisedHead = 0;
    this.#replayEnd = head;
    this.#monitor = new Monitor(this.#timers, heartbeat * 1000, {
      ping: () => this.#ping("monitor"),
      dead: () => this.#drop(),
    });
    this.#timeouts.start("settled", SETTLED_AFTER, () => this.#backoff.reset());
    this.#setTurn(asTurn(turn));
    this.#setState("online");
    if (!this.#welcomed) return; // a listener hung up
    for (const { n } of this.#sender.oversized(this.#maxFrame)) this.#tooLarge(this.#sender.discard(n));
    this.#ending &&= resumed;
    if (this.#ending) this.#write({ type: "end" });
    this.#sender.start(this.#window);
    this.#checkReplay();
  }

  /** @param {Frame} frame */
  #entry(frame) {
    const place = this.#inbox.place(frame.seq);
    if (place === "hole") return this.#drop();
    if (place === "old") return;
    this.#apply({ seq: frame.seq, name: frame.name, data: frame.data, turn: frame.turn, n: frame.n });
    this.#applyParked();
  }

  /** @param {Frame} frame `accepted`, which stands for the entry `seq` */
  #accepted({ n, seq }) {
    const item = this.#sender.accepted(n);
    const known = this.#inbox.has(seq);
    if (item && !known) this.#inbox.park(asEntry(item, seq));
    if (!item && !known) return this.#drop(); // what it says is only in the log
    this.#applyParked();
  }

  #applyParked() {
    for (let entry = this.#inbox.unpark(); entry; entry = this.#inbox.unpark()) this.#apply(entry);
  }

  /** The next entry of the log. @param {Entry} entry */
  #apply(entry) {
    const live = this.#replayEnd === null;
    this.#inbox.received = entry.seq;
    if (entry.n != null) this.#sender.confirmed(entry.n, entry);
    this.#streams.follow(entry);
    this.#acknowledger.arrived(1);
    this.#emit("event", { ...entry, live });
    this.#checkReplay();
  }

  #checkReplay() {
    if (this.#replayEnd === null || this.#inbox.received < this.#replayEnd) return;
    this.#replayEnd = null;
    this.#sender.settle();
    this.#emit("ready", {});
  }

  /** @param {Frame} frame */
  #tokenPiece({ message, index, text }) {
    this.#acknowledger.arrived(0);
    if (this.#streams.take(message, index)) this.#emit("token", { message, index, text });
  }

  /** @param {Frame} frame */
  #stream({ message, index, content }) {
    this.#acknowledger.arrived(0);
    this.#streams.resync(message, index);
    this.#emit("stream", { message, content });
  }

  /** @param {Frame} frame */
  #pong({ head }) {
    if (this.#asking.shift() === "sender") return this.#sender.answered();
    // The line was silent since the last pong. What it promised should have come long ago.
    if (this.#inbox.received < this.#promisedHead) return this.#drop();
    this.#promisedHead = head ?? 0;
  }

  /** @param {Frame} frame */
  #error({ code, detail, n, retry_after, owner }) {
    // Who is merely not logged in any more may be back at once, and finds what they wrote.
    if (owner || (owner === "" && code === "missing_env")) this.#refusedAs(owner);
    this.#lastError = { type: "error", code, detail };
    // What it misses it had accepted: only a welcome tells what it has.
    if (code === "n_gap") return this.#sender.expected(n) ? undefined : this.#drop();
    if (RETRY_CODES.has(code) && !this.#sender.pause(code, retry_after ?? 1, n ?? undefined) && n != null) return;
    if (code === "bad_frame" && n == null && this.#welcomed) return this.#unreadable(detail);
    const frame = FINAL_CODES.has(code) && n != null ? this.#sender.discard(n) : undefined;
    this.#emit("notice", { code, detail, frame, retryAfter: retry_after });
  }

  /** @param {string} detail */
  #unreadable(detail) {
    const { searching, found } = this.#sender.unreadable();
    if (found || !searching) this.#emit("notice", { code: "bad_frame", detail, frame: found });
  }

  /** Our hello was somebody else's. @param {string} owner who is here */
  #refusedAs(owner) {
    this.#met(this.#identity.refused(owner));
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#emit("owner", {});
  }

  // --- frames out -------------------------------------------------------------------------------

  /** @param {Omit<Outgoing, "n">} frame */
  #queue(frame) {
    if (FINAL_STATES.has(this.#state.state)) throw new ChatClientError("closed", "This conversation cannot go on here.");
    const copy = sendable(frame);
    if (byteLength({ ...copy, n: this.#sender.next }) > this.#maxFrame) throw new ChatClientError("too_large", this.#limit());
    return { ...this.#sender.queue(copy) };
  }

  /** @param {Outgoing | undefined} frame that will never be sent */
  #tooLarge(frame) {
    this.#emit("notice", { code: "too_large", detail: this.#limit(), frame });
  }

  #limit() {
    const limit = Number.isFinite(this.#maxFrame) ? `: at most ${this.#maxFrame} bytes can be sent at once` : "";
    return `The message is too large${limit}.`;
  }

  #pendingChanged() {
    if (this.#sender.items.length <= SAVED_AT_ONCE) this.#save();
    else if (!this.#saving.runs("save")) this.#saving.start("save", SAVE_EVERY, () => this.#save());
    this.#emit("pending", this.pending);
  }

  // --- what the page says -----------------------------------------------------------------------

  #listen() {
    this.#page.listen();
    this.#siblings.open();
  }

  /** The network or the person is back. */
  #woke() {
    this.#memory.arrive();
    if (this.#state.state === "offline") this.#open();
    else this.#monitor?.probe();
  }

  /** The page goes: to be loaded again, or to come back as it is. */
  #left() {
    this.#saveNow();
    this.#hold.release();
    this.#returned = true;
    this.#memory.leave();
  }

  /** @param {any} message what another tab says, such as a new token: the old one will soon be worth nothing */
  #heard(message) {
    this.#hold.heard(message);
    if (message.session !== this.session || typeof message.token !== "string") return;
    this.#identity.token = message.token;
    this.#save();
  }

  // --- small things -----------------------------------------------------------------------------

  /** @param {number} seq @param {string} reason */
  #restartLog(seq, reason) {
    this.#inbox.restart(seq);
    this.#streams.clear();
    this.#setTurn(null);
    this.#emit("reset", { reason });
  }

  /** @param {State} state @param {Partial<StateDetail>} [rest] */
  #setState(state, rest = {}) {
    this.#state = { state, attempt: this.#backoff.attempt, ...rest };
    this.#emit("state", this.#state);
  }

  /** @param {Frame | null} turn @param {Frame | null} [report] */
  #setTurn(turn, report = turn) {
    this.#turn = turn;
    this.#emit("turn", report && { turn: report.turn, name: report.name, status: report.status });
  }

  #save() {
    this.#saving.cancel("save");
    this.#identity.save(this.#sender.next, this.#sender.items);
  }

  /** Write down what has changed, if that has not been done yet. */
  #saveNow() {
    if (this.#saving.runs("save")) this.#save();
  }

  /** @param {string} type @param {any} detail */
  #emit(type, detail) {
    this.dispatchEvent(new ChatClientEvent(type, detail));
  }
}

/**
 * A frame as the server can read it. One that it cannot would stand in the way of all behind it.
 * @param {Omit<Outgoing, "n">} frame
 */
function sendable(frame) {
  const { type, name, call, data } = frame;
  if (type === "event" && !(typeof name === "string" && NAME.test(name))) throw new ChatClientError("bad_name", "An event's name has 1 to 100 characters.");
  if (name === "answer") throw new ChatClientError("bad_name", "An answer to a question is sent by answer().");
  if (type === "answer" && !(typeof call === "string" && call.length <= 100)) throw new ChatClientError("bad_call", "A question is named by its call.");
  let copy;
  try {
    copy = copied(frame);
  } catch (error) {
    throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${error}`);
  }
  if (copy.data === undefined) throw new ChatClientError("bad_data", `The data cannot be sent as JSON: ${typeof data}`);
  if (isTooDeep(copy.data)) throw new ChatClientError("bad_data", `The data is nested deeper than ${MAX_DEPTH} levels.`);
  return copy;
}
