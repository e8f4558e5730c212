/**
 * A chat session over a websocket that may break at any time.
 *
 *    const client = new ChatClient("/ws/counter/");
 *    client.addEventListener("event", ({ detail }) => console.log(detail.seq, detail.name, detail.data));
 *    client.connect();
 *    client.sendMessage("Hello!");
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
 * | `reset` | `{reason, before?}`: `new`, `unknown`, `ended`, `expired`, `gap`, `latest` | forget what was shown: another log, or a later part of it, follows. `latest`: entries before `before` are to be had by HTTP, and of these the last settings come as events |
 * | `ready` | `{}` | the replay is complete; what follows is live |
 * | `event` | `{seq, name, data, turn?, n?, live}` | one entry of the log. `n`: it is our own |
 * | `stream` | `{message, content}` | a streaming message's whole content so far |
 * | `token` | `{message, index, text}` | a piece to append to it |
 * | `turn` | `{turn, name, status}` or `null` | what the server is working on |
 * | `pending` | array of frames | what was sent and is not accepted yet, oldest first |
 * | `notice` | `{code, detail?, frame?, retryAfter?}` | something was refused. `frame`: our frame that will never be sent. `storage_full`: what waits to be sent would not survive a reload |
 *
 * They are told when what has happened is complete: a listener may `close()` or begin a `newSession()`.
 */
import { type Timers, Timeouts, systemTimers } from "./clock.ts";
import { type Meeting, SessionCredentials } from "./credentials.ts";
import { AckScheduler } from "./delivery/ack-scheduler.ts";
import { Outbox, byteLength } from "./delivery/outbox.ts";
import { ReplayCursor } from "./delivery/replay-cursor.ts";
import { Sender } from "./delivery/sender.ts";
import { Streams } from "./delivery/streams.ts";
import { ChatClientError } from "./errors.ts";
import { Heartbeat } from "./heartbeat.ts";
import { PageLifecycle } from "./lifecycle.ts";
import { type Entry, FINAL_CODES, MAX_DEPTH, NAME, type Outgoing, RETRY_CODES, type SentFrame, asEntry, asTurn, copied, isTooDeep, uuid } from "./protocol.ts";
import { type Locks, holdBy } from "./session-lock.ts";
import { CLOSED, type Effect, type Input, isFinal, step } from "./session-machine.ts";
import { Siblings } from "./siblings.ts";
import { TabStorage, websocketUrl } from "./tab-storage.ts";
import { Connection } from "./transport.ts";
import type { Accepted, Error as Refusal, Pong, ServerEvent, ServerFrame, Stream, Token, TurnStatus, Welcome } from "./wire.ts";

export { ChatClientError };
export type { State, StateDetail } from "./session-machine.ts";

export interface ChatClientOptions {
  /** The chat profile to ask for */
  profile?: string;
  /** An old thread to go on with */
  thread?: string;
  /** Default: the browser's */
  language?: string;
  /** Values for the handlers; never stored */
  env?: Record<string, string>;
  /** Who is here, as the template tag says it: what another user left in this tab is forgotten at once */
  owner?: string;
  /** With how many messages of a long session to begin that this page does not know: 1 to 1000. Default: all */
  latest?: number;
  /** Which of several chats of one address on this page it is; each has a session of its own */
  key?: string;
  /** Default: `sessionStorage`; `null`: none */
  storage?: Storage | null;
  WebSocket?: typeof WebSocket;
  /** How tabs of one session share its token, and how a duplicate of a tab asks whether it is one where there are no locks */
  BroadcastChannel?: typeof BroadcastChannel | null;
  /** By which a duplicate of a tab knows that it is one; default: the browser's */
  locks?: Locks | null;
  /** Where `online`, `pageshow` and `visibilitychange` happen */
  page?: EventTarget | null;
  timers?: Timers;
  random?: () => number;
}

/** Milliseconds for the way from the first byte to `welcome`. */
const WELCOME_TIMEOUT = 10_000;
/** Milliseconds that a connection must hold to count as a success. */
const SETTLED_AFTER = 5_000;
/** Seconds between pings on a silent line, if the server names none. */
const HEARTBEAT = 20;
/** Seconds of silence that are announced while the page is hidden: browsers then run timers once a minute. */
const HIDDEN_SILENCE = 75;
/** Milliseconds to wait for the page before this one, which has left but may not be gone; and for any other. */
const GOING = 5_000;
const STAYING = 300;
/** How much may wait to be sent and still be written down with every change; what is more is, every so many milliseconds. */
const SAVED_AT_ONCE = 50;
const SAVE_EVERY = 2_000;

/** An event of a `ChatClient`. */
export class ChatClientEvent<T> extends Event {
  readonly detail: T;

  constructor(type: string, detail: T) {
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
  #random;
  #storage;
  #credentials;
  #hold;
  /** Whether the page that had the session before was left. */
  #returned;
  #page;
  #siblings;
  #sender;
  #acks;
  #cursor = new ReplayCursor();
  #streams = new Streams();

  /** The state of the line. */
  #line = CLOSED;
  /** What listeners will be told, once what happens has happened completely. */
  #untold: ChatClientEvent<unknown>[] = [];
  #changing = 0;
  #telling = false;
  /** Whether all that waits to be sent is written down. */
  #kept = true;
  #turn: TurnStatus | null = null;
  #connection: Connection | null = null;
  #heartbeat: Heartbeat | null = null;
  #reached = false;
  /** The end of the log at the `welcome`, until the replay has reached it. */
  #replayEnd: number | null = null;
  /** Who waits for a pong, in the order of their pings. */
  #asking: string[] = [];
  /** How many of our events may be on the wire. */
  #window: number | undefined;
  #offers: readonly string[] = [];
  /** The end of the log at the last pong. */
  #promisedHead = 0;
  #maxFrame = Infinity;

  /** @param url of the websocket; a relative one belongs to the page's origin */
  constructor(url: string, options: ChatClientOptions = {}) {
    super();
    this.#url = websocketUrl(url);
    this.#options = options;
    const timers = options.timers ?? systemTimers;
    this.#timers = { ...timers, setTimeout: (callback: () => void, delay: number) => timers.setTimeout(() => this.#change(callback), delay) };
    this.#timeouts = new Timeouts(this.#timers);
    this.#saving = new Timeouts(this.#timers);
    this.#random = options.random ?? Math.random;
    this.#storage = new TabStorage(this.#url, options.storage, { owner: options.owner, key: options.key });
    this.#credentials = new SessionCredentials(this.#storage, options);
    this.#returned = this.#storage.arrive();
    const { page = globalThis.window ?? null, BroadcastChannel = globalThis.BroadcastChannel ?? null, locks = globalThis.navigator?.locks ?? null } = options;
    this.#page = new PageLifecycle(page, {
      woke: () => this.#change(() => this.#woke()),
      hid: () => this.#heartbeat?.probe(),
      offline: () => this.#step({ type: "offline", chance: this.#random() }),
      left: () => this.#change(() => this.#left()),
    });
    this.#siblings = new Siblings(BroadcastChannel, (message) => this.#change(() => this.#heard(message)));
    this.#hold = holdBy(locks, this.#siblings, this.#timers);
    const { left } = this.#credentials;
    this.#line = { ...CLOSED, ending: left.ending };
    this.#sender = new Sender(new Outbox(left.pending, left.next), this.#timers, {
      write: (frame) => this.#write(frame),
      ping: () => this.#ping("sender"),
      backlog: () => this.#connection?.backlog ?? 0,
      changed: () => this.#pendingChanged(),
    });
    this.#acks = new AckScheduler(this.#timers, () => this.#write({ type: "ack", seq: this.#cursor.received }));
  }

  /** The state and what belongs to it. */
  get state() {
    return this.#line.told;
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
    return this.#credentials.session;
  }

  /** What shows that the session is ours, for what goes beside the line: files. It changes with every connection. */
  get token() {
    return this.#credentials.token;
  }

  /** What the chat offers its users, by the last `welcome`: `feedback`, … */
  get offers() {
    return this.#offers;
  }

  /** The profile that the session was begun with, or will be. */
  get profile() {
    return this.#credentials.profile;
  }

  set profile(name) {
    this.#credentials.profile = name;
  }

  /** The old thread that the session goes on with, if it is not one of its own. */
  get thread() {
    return this.#credentials.thread;
  }

  /** Values for the handlers, by their names. */
  get env() {
    return { ...this.#credentials.env };
  }

  /** What this tab remembers of the chat. */
  get storage() {
    return this.#storage;
  }

  /** The highest `seq` up to which everything has been reported. */
  get received() {
    return this.#cursor.received;
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
    return this.#storage.draft;
  }

  set draft(text) {
    this.#storage.draft = text;
  }

  /** Connect, or try again at once. */
  connect() {
    this.#step({ type: "connect" });
  }

  /** Hang up. The session goes on, and so can this client: `connect()`. What is over stays over. */
  close() {
    this.#step({ type: "close" });
  }

  /** Take the conversation back from another tab or device. */
  takeOver() {
    this.connect();
  }

  /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. */
  setEnv(values: Record<string, string>) {
    this.#credentials.setEnv(values);
    if (this.state.state !== "closed" && this.state.state !== "ended") this.#step({ type: "redial" });
  }

  /**
   * Begin a new conversation. What the old one has not accepted goes to the new one.
   * @param options an old thread to go on with; another profile
   */
  newSession({ thread, profile = this.profile }: { thread?: string; profile?: string } = {}) {
    this.#change(() => {
      this.#hangUp();
      this.#credentials.restart(thread, profile);
      this.#sender.restart();
      this.#restartLog(0, "new");
      this.#step({ type: "restart" });
    });
  }

  /**
   * Send an event to the session's handlers. It is kept until the server has stored it.
   * @param data anything JSON can say
   * @returns the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  send(name: string, data: any = {}): Outgoing {
    return this.#queue({ type: "event", name, data });
  }

  /** Send what a person wrote. @param files ids of files that were uploaded */
  sendMessage(text: string, files: string[] = []) {
    return this.send("message", { id: uuid(), content: text, ...(files.length ? { files } : {}) });
  }

  /**
   * Answer an `ask` event. Like an event it is kept until the server has stored it.
   * @param data by the kind of the question: `{content}`, `{id}` of an action, `{files}`: ids
   * @returns the frame as queued
   * @throws {ChatClientError} if it can never be sent
   */
  answer(call: string, data: any): Outgoing {
    return this.#queue({ type: "answer", call, data });
  }

  /** Cancel the running turn. */
  stop() {
    this.#write({ type: "stop" });
  }

  /** End the session for good; if the line is down, as soon as it is back, after a reload too. */
  end() {
    this.#step({ type: "end" });
  }

  // --- one thing after another ------------------------------------------------------------------

  /** Change something as a whole: listeners are told when it is complete, and may change something in turn. */
  #change<T>(how: () => T): T {
    this.#changing++;
    try {
      return how();
    } finally {
      this.#changing--;
      this.#tell();
    }
  }

  #tell() {
    if (this.#changing || this.#telling) return;
    this.#telling = true;
    for (let event = this.#untold.shift(); event; event = this.#untold.shift()) this.dispatchEvent(event);
    this.#telling = false;
  }

  #step(input: Input) {
    this.#change(() => {
      const before = this.#line;
      const [after, effects] = step(before, input);
      this.#line = after;
      if (after.told !== before.told) this.#emit("state", after.told);
      for (const effect of effects) this.#perform(effect);
    });
  }

  #perform(effect: Effect) {
    if (typeof effect === "object") this.#timeouts.start("retry", effect.retry, () => this.#step({ type: "redial" }));
    else if (effect === "listen") this.#listen();
    else if (effect === "unlisten") this.#unlisten();
    else if (effect === "hangUp") this.#hangUp();
    else if (effect === "dial") this.#dial();
    else if (effect === "probe") this.#heartbeat?.probe();
    else if (effect === "end") this.#write({ type: "end" });
    else if (effect === "idle") this.#setTurn(null);
    else this.#save();
  }

  // --- the line ---------------------------------------------------------------------------------

  #dial() {
    this.#timeouts.start("welcome", WELCOME_TIMEOUT, () => this.#drop());
    try {
      this.#connection = new Connection(this.#url, this.#options.WebSocket ?? WebSocket, {
        opened: () => this.#change(() => this.#hello()),
        received: (frame) => this.#change(() => this.#receive(frame)),
        closed: (code) => this.#change(() => this.#closed(code)),
      });
    } catch (error) {
      this.#step({ type: "failed", detail: String(error) });
    }
  }

  /** Say hello, once it is known that the session is not another tab's, whose duplicate this one is. */
  #hello() {
    const { session } = this;
    const connection = this.#connection;
    if (!session) return this.#sayHello();
    this.#hold.take(session, this.#returned ? GOING : STAYING, (ours) =>
      this.#change(() => {
        if (!ours) this.#separate();
        if (connection === this.#connection) this.#sayHello();
      }),
    );
  }

  /** Another tab has the session, and sends what waits in it. */
  #separate() {
    this.#credentials.separate();
    this.#sender.forget(this.#credentials.left.pending);
    this.#sender.restart();
  }

  #sayHello() {
    const { language = globalThis.navigator?.language } = this.#options;
    this.#write(this.#credentials.hello(this.#cursor.received, language, this.#options.latest));
  }

  /** Leave the line, whatever its state, with all that runs on its behalf. */
  #hangUp() {
    this.#connection?.close();
    this.#connection = null;
    this.#heartbeat?.stop();
    this.#heartbeat = null;
    this.#asking = [];
    this.#replayEnd = null;
    this.#sender.halt();
    this.#acks.halt();
    this.#timeouts.cancelAll();
  }

  /** The line is of no use any more: come back on another. */
  #drop() {
    this.#step({ type: "dropped", chance: this.#random() });
  }

  #closed(code: number) {
    const { welcomed, error } = this.#line;
    this.#hangUp();
    const anew = code === 4500 && welcomed && error?.code === "bad_frame" && this.#sender.searchAnew();
    if (code === 1009) this.#tooLarge(this.#sender.discardLargest());
    this.#step({ type: "closed", code, anew, chance: this.#random() });
  }

  #ping(asking: "sender" | "monitor") {
    this.#asking.push(asking);
    this.#write(this.#page.hidden ? { type: "ping", silence: HIDDEN_SILENCE } : { type: "ping" });
  }

  #write(frame: SentFrame) {
    if (this.#connection?.send(frame)) this.#heartbeat?.sent();
  }

  // --- frames in --------------------------------------------------------------------------------

  #receive(frame: ServerFrame) {
    this.#heartbeat?.heard();
    if (frame.type === "error") this.#error(frame);
    else if (frame.type === "welcome") this.#welcome(frame);
    else if (frame.type === "ended") this.#step({ type: "ended", reason: frame.reason });
    else if (this.#line.welcomed) this.#receiveLive(frame);
  }

  #receiveLive(frame: ServerFrame) {
    if (frame.type === "event") this.#entry(frame);
    else if (frame.type === "accepted") this.#accepted(frame);
    else if (frame.type === "token") this.#tokenPiece(frame);
    else if (frame.type === "stream") this.#stream(frame);
    else if (frame.type === "turn") this.#setTurn(frame.status === "running" ? frame : null, frame);
    else if (frame.type === "pong") this.#pong(frame);
  }

  #welcome(welcome: Welcome) {
    const { session, token, resumed, reason, received, first, head, turn, heartbeat, max_frame } = welcome;
    this.#timeouts.cancel("welcome");
    this.#reached = true;
    const meeting = this.#credentials.welcomed(welcome);
    this.#met(meeting);
    this.#maxFrame = max_frame ?? Infinity;
    this.#window = Number.isInteger(welcome.window) ? welcome.window : undefined;
    this.#offers = Array.isArray(welcome.offers) ? welcome.offers : [];
    this.#cursor.resume();
    // This also stores the token, before anything is sent: our first frame makes the old one invalid.
    this.#sender.welcome(received ?? 0, resumed);
    this.#saveNow();
    this.#siblings.say({ session, token });
    this.#hold.keep(session);
    this.#returned = false;
    if (meeting.forget) this.#emit("owner", {});
    if (meeting.again) return resumed ? this.#step({ type: "redial" }) : this.newSession({ thread: this.thread });
    if (!resumed) this.#restartLog(first - 1, this.#credentials.reasonOf(reason));
    else if (welcome.earlier != null) this.#restartLog(first - 1, "latest", { before: first });
    else if (first > this.#cursor.received + 1) this.#restartLog(first - 1, "gap");
    else if (head < this.#cursor.received) {
      // The server's log is shorter than ours, restored from a backup perhaps: read it anew.
      this.#restartLog(0, "gap");
      return this.#drop();
    }
    this.#begin(heartbeat ?? HEARTBEAT, head, turn, Boolean(resumed), welcome.state);
  }

  /** What waits to be sent is theirs who are here, and nobody else's. */
  #met({ forget, adopt }: Meeting) {
    if (adopt) this.#sender.adopt(adopt.pending, adopt.next);
    if (forget === "all") this.#sender.forget();
    else if (forget === "left") this.#sender.forget(this.#credentials.left.pending);
  }

  /** @param state entries from before the first that still hold */
  #begin(heartbeat: number, head: number, turn: any, resumed: boolean, state: ServerEvent[] = []) {
    this.#promisedHead = 0;
    this.#replayEnd = head;
    this.#heartbeat = new Heartbeat(this.#timers, heartbeat * 1000, {
      ping: () => this.#ping("monitor"),
      dead: () => this.#drop(),
      backlog: () => this.#connection?.backlog ?? 0,
    });
    this.#timeouts.start("settled", SETTLED_AFTER, () => this.#step({ type: "settled" }));
    if (this.#page.hidden) this.#heartbeat.probe();
    this.#setTurn(asTurn(turn));
    this.#step({ type: "welcomed", resumed });
    for (const { n } of this.#sender.oversized(this.#maxFrame)) this.#tooLarge(this.#sender.discard(n));
    this.#sender.start(this.#window);
    for (const { seq, name, data } of state) this.#emit("event", { seq, name, data, live: false });
    this.#checkReplay();
  }

  #entry(frame: ServerEvent) {
    const place = this.#cursor.place(frame.seq);
    if (place === "hole") return this.#drop();
    if (place === "old") return;
    this.#apply({ seq: frame.seq, name: frame.name, data: frame.data, turn: frame.turn, n: frame.n });
    this.#applyParked();
  }

  /** @param frame `accepted`, which stands for the entry `seq` */
  #accepted({ n, seq }: Accepted) {
    const item = this.#sender.accepted(n);
    const known = this.#cursor.has(seq);
    if (item && !known) this.#cursor.park(asEntry(item, seq));
    if (!item && !known) return this.#drop(); // what it says is only in the log
    this.#applyParked();
  }

  #applyParked() {
    for (let entry = this.#cursor.unpark(); entry; entry = this.#cursor.unpark()) this.#apply(entry);
  }

  /** The next entry of the log. */
  #apply(entry: Entry) {
    const live = this.#replayEnd === null;
    this.#cursor.received = entry.seq;
    if (entry.n != null) this.#sender.confirmed(entry.n, entry);
    this.#streams.follow(entry);
    this.#acks.arrived(1);
    this.#emit("event", { ...entry, live });
    this.#checkReplay();
  }

  #checkReplay() {
    if (this.#replayEnd === null || this.#cursor.received < this.#replayEnd) return;
    this.#replayEnd = null;
    this.#sender.settle();
    this.#emit("ready", {});
  }

  #tokenPiece({ message, index, text }: Token) {
    this.#acks.arrived(0);
    if (this.#streams.take(message, index)) this.#emit("token", { message, index, text });
  }

  #stream({ message, index, content }: Stream) {
    this.#acks.arrived(0);
    this.#streams.resync(message, index);
    this.#emit("stream", { message, content });
  }

  #pong({ head }: Pong) {
    if (this.#asking.shift() === "sender") return this.#sender.answered();
    // The line was silent since the last pong. What it promised should have come long ago.
    if (this.#cursor.received < this.#promisedHead) return this.#drop();
    this.#promisedHead = head ?? 0;
  }

  #error({ code, detail, n, retry_after, owner }: Refusal) {
    // Who is merely not logged in any more may be back at once, and finds what they wrote.
    if (owner || (owner === "" && code === "missing_env")) this.#refusedAs(owner);
    this.#step({ type: "error", error: { code, detail } });
    // What it misses it had accepted: only a welcome tells what it has.
    if (code === "n_gap") return n == null || this.#sender.expected(n) ? undefined : this.#drop();
    if (RETRY_CODES.has(code) && !this.#sender.pause(code, retry_after ?? 1, n ?? undefined) && n != null) return;
    if (code === "bad_frame" && n == null && this.#line.welcomed) return this.#unreadable(detail);
    const frame = FINAL_CODES.has(code) && n != null ? this.#sender.discard(n) : undefined;
    this.#emit("notice", { code, detail, frame, retryAfter: retry_after });
  }

  #unreadable(detail: string) {
    const { searching, found } = this.#sender.unreadable();
    if (found || !searching) this.#emit("notice", { code: "bad_frame", detail, frame: found });
  }

  /** Our hello was somebody else's. @param owner who is here */
  #refusedAs(owner: string) {
    this.#met(this.#credentials.refused(owner));
    this.#sender.restart();
    this.#restartLog(0, "new");
    this.#emit("owner", {});
  }

  // --- frames out -------------------------------------------------------------------------------

  #queue(frame: Omit<Outgoing, "n">) {
    if (isFinal(this.state.state)) throw new ChatClientError("closed", "This conversation cannot go on here.");
    const copy = sendable(frame);
    if (byteLength({ ...copy, n: this.#sender.next }) > this.#maxFrame) throw new ChatClientError("too_large", this.#limit());
    return this.#change(() => ({ ...this.#sender.queue(copy) }));
  }

  /** @param frame that will never be sent */
  #tooLarge(frame: Outgoing | undefined) {
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

  #unlisten() {
    this.#saveNow();
    this.#hold.release();
    this.#page.unlisten();
    this.#siblings.close();
  }

  /** The network or the person is back. */
  #woke() {
    this.#storage.arrive();
    this.#step({ type: "woke" });
  }

  /** The page goes: to be loaded again, or to come back as it is. */
  #left() {
    this.#saveNow();
    this.#hold.release();
    this.#returned = true;
    this.#storage.leave();
  }

  /** @param message what another tab says, such as a new token: the old one will soon be worth nothing */
  #heard(message: any) {
    this.#hold.heard(message);
    if (message.session !== this.session || typeof message.token !== "string") return;
    this.#credentials.token = message.token;
    this.#save();
  }

  // --- small things -----------------------------------------------------------------------------

  #restartLog(seq: number, reason: string | null, more = {}) {
    this.#cursor.restart(seq);
    this.#streams.clear();
    this.#setTurn(null);
    this.#emit("reset", { reason, ...more });
  }

  #setTurn(turn: TurnStatus | null, report: TurnStatus | null = turn) {
    this.#turn = turn;
    this.#emit("turn", report && { turn: report.turn, name: report.name, status: report.status });
  }

  #save() {
    this.#saving.cancel("save");
    const kept = this.#credentials.save(this.#sender.next, this.#sender.items, this.#line.ending);
    if (this.#kept && !kept) this.#emit("notice", { code: "storage_full" });
    this.#kept = kept;
  }

  /** Write down what has changed, if that has not been done yet. */
  #saveNow() {
    if (this.#saving.runs("save")) this.#save();
  }

  #emit(type: string, detail: any) {
    this.#untold.push(new ChatClientEvent(type, detail));
  }
}

/** A frame as the server can read it. One that it cannot would stand in the way of all behind it. */
function sendable(frame: Omit<Outgoing, "n">) {
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
