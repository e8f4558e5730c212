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
import { type Timers, systemTimers, timeoutsBy } from "./clock.ts";
import { type Meeting, SessionCredentials } from "./credentials.ts";
import { ackScheduler } from "./delivery/ack-scheduler.ts";
import { byteLength, createOutbox } from "./delivery/outbox.ts";
import { ReplayCursor } from "./delivery/replay-cursor.ts";
import { createSender } from "./delivery/sender.ts";
import { Streams } from "./delivery/streams.ts";
import { ChatClientError } from "./errors.ts";
import { type Heartbeat, startHeartbeat } from "./heartbeat.ts";
import { GOING, HIDDEN_SILENCE, LONGEST_RETRY, SAVED_AT_ONCE, SAVE_EVERY, SETTLED_AFTER, STAYING, WELCOME_TIMEOUT } from "./limits.ts";
import { type Entry, FINAL_CODES, type Outgoing, RETRY_CODES, type SentFrame, asEntry, copied, isTooDeep, readable, uuid } from "./protocol.ts";
import { type Locks, sessionLock } from "./session-lock.ts";
import { CLOSED, type Effect, type Input, isFinal, step } from "./session-machine.ts";
import { siblingsBy } from "./siblings.ts";
import { type TabStorage, tabStorage, websocketUrl } from "./tab-storage.ts";
import { type Connection, connect } from "./transport.ts";
import type { Error as Refusal, ServerFrame, TurnStatus, Welcome } from "./wire.ts";

export { ChatClientError };
export type { Entry, Outgoing } from "./protocol.ts";
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
  /** How tabs of one session share its token */
  BroadcastChannel?: typeof BroadcastChannel | null;
  /** By which a duplicate of a tab knows that it is one; default: the browser's */
  locks?: Locks | null;
  /** Where `online`, `pageshow` and `visibilitychange` happen */
  page?: EventTarget | null;
  timers?: Timers;
  random?: () => number;
}

/** How far the server is with something. */
type Turn = Omit<TurnStatus, "type">;

/** What is heard of the page. */
const PAGE_EVENTS = ["online", "pageshow", "visibilitychange", "offline", "pagehide"];

export class ChatClient extends EventTarget {
  /** Where it connects to. */
  declare readonly url: string;
  /** What this tab remembers of the chat. */
  declare readonly storage: TabStorage;
  #options;
  #random;
  /** Those of the connection. */
  #timeouts;
  /** Those that do not go with it. */
  #lasting;
  #credentials;
  #lock;
  /** Whether the page that had the session before was left. */
  #returned;
  #page;
  #siblings;
  #outbox;
  #sender;
  #cursor = new ReplayCursor();
  #streams = new Streams();
  #arrived;

  /** The state of the line. */
  #line = CLOSED;
  /** What listeners will be told, once what happens has happened completely. */
  #untold: CustomEvent[] = [];
  #changing = 0;
  #telling = false;
  /** Whether all that waits to be sent is written down. */
  #kept = true;
  /** The turns that run, by their numbers, the earliest first: one may overtake another that waits for an answer. */
  #turns: Map<number, Turn> = new Map();
  #connection: Connection | null = null;
  #heartbeat: Heartbeat | null = null;
  /** What the server said first, on this page. */
  #welcomed: Welcome | null = null;
  /** The end of the log at the `welcome`, until the replay has reached it. */
  #replayEnd: number | null = null;
  /** Who waits for a pong, in the order of their pings. */
  #asking: ((head: number) => void)[] = [];
  /** Whether the server has refused a frame of ours for good, on this line. */
  #gaveUp = false;

  /** @param url of the websocket; a relative one belongs to the page's origin */
  constructor(url: string, options: ChatClientOptions = {}) {
    super();
    this.url = websocketUrl(url);
    this.#options = options;
    this.#random = options.random ?? Math.random;
    const timers = options.timers ?? systemTimers;
    const run = (callback: () => void) => this.#change(callback);
    this.#timeouts = timeoutsBy(timers, run);
    this.#lasting = timeoutsBy(timers, run);
    this.#arrived = ackScheduler(this.#timeouts, () => this.#write({ type: "ack", seq: this.received }));
    this.storage = tabStorage(this.url, options.storage, options);
    this.#credentials = new SessionCredentials(this.storage, options);
    this.#returned = this.storage.arrive();
    const { page = globalThis.window, BroadcastChannel = globalThis.BroadcastChannel, locks = globalThis.navigator?.locks } = options;
    this.#page = page;
    this.#siblings = siblingsBy(BroadcastChannel, (message) => this.#change(() => this.#heard(message)));
    this.#lock = sessionLock(locks, this.#lasting);
    const { pending, next, ending } = this.#credentials.left;
    this.#line = { ...CLOSED, ending: ending === true };
    this.#outbox = createOutbox(pending, next);
    this.#sender = createSender(this.#outbox, this.#timeouts, this.#write, (answered) => this.#ping(answered), () => this.#pendingChanged());
  }

  /** The state and what belongs to it. */
  get state() {
    return this.#line.told;
  }

  /** Whether the server has welcomed us, on this page. */
  get reached() {
    return this.#welcomed !== null;
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
  get offers(): readonly string[] {
    return this.#welcomed?.offers ?? [];
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

  /** The highest `seq` up to which everything has been reported. */
  get received() {
    return this.#cursor.received;
  }

  /** The running turn, the earlier one if there are two, or null. */
  get turn(): Turn | null {
    return [...this.#turns.values()][0] ?? null;
  }

  /** What was sent and is not accepted yet, oldest first. */
  get pending() {
    return [...this.#outbox.items];
  }

  /** Connect, or try again at once; where another tab or device has the conversation, take it back. */
  connect() {
    this.#step({ type: "connect" });
  }

  /** Hang up. The session goes on, and so can this client: `connect()`. What is over stays over. */
  close() {
    this.#step({ type: "close" });
  }

  /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. */
  setEnv(values: Record<string, string>) {
    this.#credentials.setEnv(values);
    const { state } = this.state;
    if (state !== "closed" && state !== "ended") this.#step({ type: "redial" });
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

  /**
   * Send what a person wrote.
   * @param files ids of files that were uploaded
   * @param replaces the number of their last message, where the chat offers `edits`: this one takes its place
   */
  sendMessage(text: string, files: string[] = [], replaces?: number) {
    return this.send("message", { id: uuid(), content: text, replaces, ...(files.length ? { files } : {}) });
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
    while (this.#untold.length) this.dispatchEvent(this.#untold.shift()!);
    this.#telling = false;
  }

  #step(input: Input) {
    this.#change(() => {
      const before = this.#line;
      const [after, effects] = step(before, input, this.#random());
      this.#line = after;
      if (after.ending !== before.ending) this.#save(); // it is to be done after a reload too
      if (after.told !== before.told) this.#emit("state", after.told);
      for (const effect of effects) this.#perform[effect]();
    });
  }

  #perform: Record<Effect, () => void> = {
    listen: () => {
      for (const type of PAGE_EVENTS) this.#page?.addEventListener(type, this.#onPage);
      this.#siblings.open();
    },
    unlisten: () => {
      this.#saveNow();
      this.#lock.release();
      for (const type of PAGE_EVENTS) this.#page?.removeEventListener(type, this.#onPage);
      this.#siblings.close();
    },
    hangUp: () => this.#hangUp(),
    dial: () => {
      // More patience each time: a server that is too slow for many would never be done with one.
      this.#timeouts.start("welcome", Math.min(LONGEST_RETRY, WELCOME_TIMEOUT * 2 ** this.state.attempt), this.#drop);
      try {
        this.#connection = connect(
          this.url,
          this.#options.WebSocket ?? WebSocket,
          () => this.#hello(),
          (frame) => this.#change(() => this.#receive(frame)),
          (code) => this.#closed(code),
        );
      } catch (error) {
        this.#step({ type: "failed", detail: String(error) });
      }
    },
    retry: () => this.#timeouts.start("retry", this.state.retryIn! * 1000, () => this.#step({ type: "redial" })),
    probe: () => this.#heartbeat?.probe(),
    end: () => this.#write({ type: "end" }),
    idle: () => this.#setTurn(null),
  };

  // --- the line ---------------------------------------------------------------------------------

  /** Say hello, once it is known that the session is not another tab's, whose duplicate this one is. */
  #hello() {
    const { session } = this;
    const connection = this.#connection;
    if (!session) return this.#sayHello();
    const told = (ours: boolean) =>
      this.#change(() => {
        if (!ours) this.#separate();
        if (connection === this.#connection) this.#sayHello();
      });
    this.#lock.take(session, told, this.#returned ? GOING : STAYING);
  }

  /** Another tab has the session, and sends what waits in it. */
  #separate() {
    this.#credentials.separate();
    this.#outbox.forget(this.#credentials.left.pending);
    this.#sender.restart();
  }

  #sayHello() {
    const { language = globalThis.navigator?.language } = this.#options;
    this.#write(this.#credentials.hello(this.received, language, this.#options.latest));
  }

  /** Leave the line, whatever its state, with all that runs on its behalf. */
  #hangUp() {
    this.#connection?.close();
    this.#connection = null;
    this.#heartbeat = null;
    this.#asking = [];
    this.#replayEnd = null;
    this.#sender.halt();
    this.#timeouts.cancelAll();
  }

  /** The line is of no use any more: come back on another. */
  #drop = () => this.#step({ type: "dropped" });

  #closed(code: number) {
    this.#hangUp();
    // The server is tired of what it cannot read. What is left may be better.
    const anew = code === 4500 && this.#gaveUp;
    this.#gaveUp = false;
    if (code === 1009) this.#tooLarge(this.#outbox.largestWritten());
    this.#step({ type: "closed", code, anew });
  }

  #ping(answered: (head: number) => void) {
    this.#asking.push(answered);
    this.#write({ type: "ping", silence: isHidden() ? HIDDEN_SILENCE : undefined });
  }

  #write = (frame: SentFrame) => {
    if (this.#connection?.send(frame)) this.#heartbeat?.sent();
  };

  // --- frames in --------------------------------------------------------------------------------

  #receive(frame: ServerFrame) {
    this.#heartbeat?.heard();
    this.#take[frame.type]?.(frame as any);
  }

  #take: { [Type in ServerFrame["type"]]: (frame: Extract<ServerFrame, { type: Type }>) => void } = {
    error: (frame) => this.#error(frame),
    welcome: (frame) => this.#welcome(frame),
    ended: (frame) => this.#step(frame),
    event: ({ type, ...entry }) => {
      const ahead = entry.seq - this.received;
      if (ahead > 1) return this.#drop(); // there is a hole
      if (ahead === 1) this.#cursor.park(entry);
      this.#apply();
    },
    // It stands for an entry of the log.
    accepted: ({ n: clientSeq, seq: logSeq }) => {
      const item = this.#sender.accepted(clientSeq);
      if (!this.#cursor.has(logSeq)) {
        if (!item) return this.#drop(); // what it says is only in the log
        this.#cursor.park(asEntry(item, logSeq));
      }
      this.#apply();
    },
    token: ({ type, ...piece }) => {
      this.#arrived(0);
      if (this.#streams.take(piece.message, piece.index)) this.#emit(type, piece);
    },
    stream: ({ type, index, ...whole }) => {
      this.#arrived(0);
      this.#streams.set(whole.message, index);
      this.#emit(type, whole);
    },
    turn: ({ type, ...turn }) => this.#setTurn(turn),
    pong: ({ head }) => this.#asking.shift()?.(head),
  };

  #welcome(welcome: Welcome) {
    const { session, token, resumed, reason, received, first, head } = welcome;
    this.#timeouts.cancel("welcome");
    this.#welcomed = welcome;
    const meeting = this.#credentials.welcomed(welcome);
    this.#met(meeting);
    this.#cursor.restart(this.received); // what was parked comes again
    if (!resumed) this.#sender.restart();
    // This also stores the token, before anything is sent: our first frame makes the old one invalid.
    this.#sender.welcome(received, welcome.yours);
    this.#saveNow();
    this.#siblings.say({ session, token });
    this.#lock.take(session);
    this.#returned = false;
    if (meeting.forget) this.#emit("owner", {});
    if (meeting.again) return resumed ? this.#step({ type: "redial" }) : this.newSession({ thread: this.thread });
    if (!resumed) this.#restartLog(first - 1, this.#credentials.reasonOf(reason));
    else if (welcome.earlier != null) this.#restartLog(first - 1, "latest", { before: first });
    else if (first > this.received + 1) this.#restartLog(first - 1, "gap");
    else if (head < this.received) {
      // The server's log is shorter than ours, restored from a backup perhaps: read it anew.
      this.#restartLog(0, "gap");
      return this.#drop();
    }
    this.#begin(welcome);
  }

  /** What waits to be sent is theirs who are here, and nobody else's. */
  #met({ forget, adopt }: Meeting) {
    if (adopt) this.#outbox.adopt(adopt.pending, adopt.next);
    if (forget) this.#outbox.forget(forget === "left" ? this.#credentials.left.pending : undefined);
  }

  /** With `state`: entries from before the first that still hold. */
  #begin({ heartbeat, head, turn, resumed, window, max_frame, state = [] }: Welcome) {
    /** The end of the log at the last pong. */
    let promised = 0;
    const ping = (silent: boolean) =>
      this.#ping((head) => {
        // Nothing has come since the last pong. What that promised should have come long ago.
        if (silent && this.received < promised) this.#drop();
        promised = head;
      });
    this.#replayEnd = head;
    this.#heartbeat = startHeartbeat(this.#timeouts, heartbeat * 1000, ping, this.#drop, () => this.#connection?.backlog ?? 0);
    this.#timeouts.start("settled", SETTLED_AFTER, () => this.#step({ type: "settled" }));
    if (isHidden()) this.#heartbeat.probe();
    this.#turns.clear();
    this.#setTurn(turn != null ? { turn, name: "", status: "running" } : null);
    this.#step({ type: "welcomed", resumed });
    for (const frame of this.#outbox.oversized(max_frame)) this.#tooLarge(frame);
    this.#sender.start(window);
    for (const { type, ...entry } of state) this.#emit("event", { ...entry, live: false });
    this.#checkReplay();
  }

  /** The next entries of the log. */
  #apply() {
    let entry;
    while ((entry = this.#cursor.next())) {
      const live = this.#replayEnd === null;
      if (entry.n != null) this.#sender.confirmed(entry.n, entry);
      this.#streams.follow(entry);
      this.#arrived(1);
      this.#emit("event", { ...entry, live });
      this.#checkReplay();
    }
  }

  #checkReplay() {
    if (this.#replayEnd === null || this.received < this.#replayEnd) return;
    this.#replayEnd = null;
    this.#sender.settle();
    this.#emit("ready", {});
  }

  #error({ code, detail, n: clientSeq, retry_after, owner }: Refusal) {
    // Who is merely not logged in any more may be back at once, and finds what they wrote.
    if (owner || (owner === "" && code === "missing_env")) this.#refusedAs(owner);
    this.#step({ type: "error", error: { reason: code, detail } });
    // What it misses it had accepted: only a welcome tells what it has.
    if (code === "n_gap") return clientSeq == null || this.#sender.expected(clientSeq) ? undefined : this.#drop();
    if (RETRY_CODES.includes(code) && !this.#sender.pause(code, retry_after ?? 1, clientSeq ?? undefined) && clientSeq != null) return;
    const frame = FINAL_CODES.includes(code) && clientSeq != null ? this.#sender.discard(clientSeq) : undefined;
    if (frame) this.#gaveUp = true;
    if (frame !== null) this.#emit("notice", { code, detail, frame, retryAfter: retry_after });
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
    if (isFinal(this.state.state)) throw new ChatClientError("closed");
    const copy = sendable(frame);
    const most = this.#welcomed?.max_frame ?? Infinity;
    if (byteLength({ ...copy, n: this.#outbox.next }) > most) throw new ChatClientError("too_large", `at most ${most} bytes`);
    return this.#change(() => ({ ...this.#sender.queue(copy) }));
  }

  /** @param frame that will never be sent */
  #tooLarge(frame: Outgoing | undefined) {
    this.#emit("notice", { code: "too_large", frame: frame && this.#sender.discard(frame.n) });
  }

  #pendingChanged() {
    if (this.#outbox.items.length <= SAVED_AT_ONCE) this.#save();
    else this.#lasting.ensure("save", SAVE_EVERY, () => this.#save());
    this.#emit("pending", this.pending);
  }

  // --- what the page says -----------------------------------------------------------------------

  #onPage = ({ type, persisted }: Event & { persisted?: boolean }) => {
    this.#change(() => {
      if (type === "offline") this.#step({ type });
      else if (type === "pagehide") this.#left();
      else {
        // The page is back as it was left: another one of this tab may have gone on with the session.
        if (persisted) this.#heard(this.storage.load());
        if (isHidden()) this.#heartbeat?.probe(); // browsers slow its timers
        else {
          // The network or the person is back.
          this.storage.arrive();
          this.#step({ type: "woke" });
        }
      }
    });
  };

  /** The page goes: to be loaded again, or to come back as it is. */
  #left() {
    this.#saveNow();
    this.#lock.release();
    this.#returned = true;
    this.storage.leave();
  }

  /** Another tab says that there is a new token: the old one will soon be worth nothing. Or another page of this tab has left one, and what waits. */
  #heard({ session, token, pending }: any) {
    if (session !== this.session || typeof token !== "string") return;
    this.#credentials.token = token;
    if (pending?.length) this.#outbox.replace(pending);
    this.#save();
  }

  // --- small things -----------------------------------------------------------------------------

  #restartLog(logSeq: number, reason: string | null, more = {}) {
    this.#cursor.restart(logSeq);
    this.#streams.clear();
    this.#setTurn(null);
    this.#emit("reset", { reason, ...more });
  }

  #setTurn(turn: Turn | null) {
    if (!turn) this.#turns.clear();
    else if (turn.status === "running") this.#turns.set(turn.turn, turn);
    else this.#turns.delete(turn.turn);
    this.#emit("turn", turn);
  }

  #save() {
    this.#lasting.cancel("save");
    const kept = this.#credentials.save(this.#outbox.next, this.#outbox.items, this.#line.ending);
    if (this.#kept && !kept) this.#emit("notice", { code: "storage_full" });
    this.#kept = kept;
  }

  /** Write down what has changed, if that has not been done yet. */
  #saveNow() {
    if (this.#lasting.runs("save")) this.#save();
  }

  #emit(type: string, detail: any) {
    this.#untold.push(new CustomEvent(type, { detail }));
  }
}

/** A frame as the server can read it. One that it cannot would stand in the way of all behind it. */
function sendable(frame: Omit<Outgoing, "n">) {
  const { type, name, call } = frame;
  if (type === "event" && (!readable(name, 100) || name === "answer")) throw new ChatClientError("bad_name");
  if (type === "answer" && !(typeof call === "string" && call.length <= 100)) throw new ChatClientError("bad_call");
  let copy;
  try {
    copy = copied(frame);
  } catch (error) {
    throw new ChatClientError("bad_data", String(error));
  }
  if (copy.data === undefined || isTooDeep(copy.data)) throw new ChatClientError("bad_data");
  return copy;
}

/** Whether nobody looks at the page. */
function isHidden() {
  return globalThis.document?.visibilityState === "hidden";
}
