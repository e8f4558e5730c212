/**
 * `<chat-session src="/ws/counter/" heading="Counter">`: a conversation on a page.
 *
 * Attributes: `src` (the websocket), `heading`, `placeholder`, `profile`, `thread`, `language`;
 * `api` (where `chatsessions.urls` is included), `chat` (the chat's name), `files` (messages may have
 * some; its value may say which kinds), `profiles` (JSON, or nothing: ask the server), `threads`
 * (offer earlier conversations), `export` (offer the conversation as a file), `login-url`, `parent-origin`; `latest` (how many messages of a long
 * conversation to begin with, or `all`).
 * `image-hosts` (hosts whose pictures are shown in Markdown), `markdown-src`, `highlight-src`, `panels-src` (where these files are).
 * Style it with `chat-session::part(…)` and the custom properties named in chat-session.css.
 *
 * Dispatches (bubbling, composed):
 * - `chat-event`: `{seq, name, data, live}`, an event of the application's own. `live` is false in a replay;
 * - `chat-ask`: a question of the application's own kind, to be answered by `element.client.answer(call, data)`;
 * - `chat-event-refused`: `{code, detail, frame}`, something of ours that the server does not take, and that is given up;
 * - `chat-state`: the `StateDetail` of the connection;
 * - `chat-unread`: `{count}`, how many messages came while the element or the page was hidden.
 *
 * `element.client` is the `ChatClient` beneath.
 */
/// <reference path="./css.d.ts" />
import look from "./chat-session.css";
import { ChatClient, type Entry, type Outgoing, type State, type StateDetail } from "../client/client.ts";
import { Banner, Notice, statusWords } from "./banner.ts";
import { Composer } from "./composer.ts";
import { button, create } from "./dom.ts";
import { Formatting } from "./formatting.ts";
import { speak } from "./language.ts";
import { layout } from "./layout.ts";
import { MessageList } from "./message-list.ts";
import { NextFrame } from "./next-frame.ts";
import { PanelLoader } from "./panel-loader.ts";
import type { Panels } from "./panels/panels.ts";
import { ProfileChoice } from "./profile-choice.ts";
import { Scrolling } from "./scrolling.ts";
import { Starters } from "./starters.ts";
import { texts } from "./texts.ts";
import { Unread } from "./unread.ts";
import { FileServer } from "./uploads.ts";
import { Work } from "./work.ts";
import { NAME as WINDOW_MESSAGE, WindowMessages } from "./window-messages.ts";

export type NoticeDetail = { code: string; detail?: string; frame?: Outgoing; retryAfter?: number };

/** One for all elements. A Content-Security-Policy has no say in sheets that a script makes. */
const stylesheet = new CSSStyleSheet();
stylesheet.replaceSync(look);
/** States in which nobody can write. */
const SILENT: State[] = ["replaced", "ended", "refused"];
/** Errors that are shown in the conversation, in a form, or beside the state of the line. */
const SAID_ELSEWHERE = ["handler_error", "interrupted", "missing_env", "not_migrated"];
/** How much may wait to be sent and still be shown anew with every change; what is more is, every so many milliseconds. */
const SHOWN_AT_ONCE = 50;
const SHOWN_EVERY = 500;
/** How many messages of a long conversation are shown at first, unless the page says; and at most. */
const LATEST = 50;
const MOST = 1000;
/** Which conversations of this page elements have. */
const places: Map<string, ChatSessionElement> = new Map();
/** What the console was told of. */
const unreachable: Set<string> = new Set();

export class ChatSessionElement extends HTMLElement {
  static observedAttributes = ["src", "heading", "placeholder", "files", "threads", "profiles", "api", "owner", "export"];
  /** Every word it says. */
  static texts = texts;

  #client: ChatClient | null = null;
  #server: FileServer | null = null;
  #waiting: number | undefined;
  /** Which conversation of the page it has. */
  #place = "";
  /** Whose page it is, when the conversation began. */
  #owner: string | null = null;
  #parts = layout();
  #ready = false;
  #notice = new Notice(this.#parts);
  #banner = new Banner(this.#parts);
  /** What has come since the last frame is shown at once. */
  #frame = new NextFrame(() => {
    this.#messageList.flush();
    this.#showEmpty();
    this.#showWork();
  });
  #scrolling = new Scrolling(this.#parts.messages, this.#parts.jump);
  #formatting = new Formatting(this, (text) => (this.#parts.announcer.textContent = text));
  #messageList = new MessageList(this.#parts.list, this.#parts.waiting, this.#formatting, {
    act: (data) => this.#attempt(() => this.#client?.send("action", data)) && this.#scrolling.toEnd(),
    rate: (data) => this.#attempt(() => this.#client?.send("feedback", data)),
    rated: () => Boolean(this.#client?.offers.includes("feedback")),
    edit: (replaced) => this.#composer.edit(replaced),
    again: ({ text, files, n }) => {
      this.#composer.cancelEdit();
      this.#say(text, files, n);
      this.focus();
    },
    resendable: () => Boolean(this.#client?.offers.includes("edits")) && !SILENT.includes(this.#state.state),
    answer: (call, data) => this.#answer(call, data),
    asked: () => this.#frame.request(),
    changed: () => this.#frame.request(),
    announce: (text) => (this.#parts.announcer.textContent = text),
    notify: (text) => this.#notice.show(text),
    server: () => this.#server,
    use: (task) => this.#panels.use(task),
  });
  #work = new Work(this.#parts);
  #unread = new Unread(this, () => this.#client, (count) => this.#dispatch("chat-unread", { count }));
  #composer = new Composer(this.#parts, {
    send: (text, files, replaces) => this.#say(text, files, replaces),
    storage: () => this.#client?.storage,
    editing: () => this.#frame.request(),
    escape: () => this.#stop(),
    notify: (text) => this.#notice.show(text),
    server: () => this.#server,
    limits: () => ({ accept: this.getAttribute("files")?.split(","), maxMegabytes: Number(this.getAttribute("max-file-bytes")) / 1024 ** 2 }),
    asked: () => this.#messageList.questions.openFiles,
  });
  #starters = new Starters((message) => {
    this.#say(message, []);
    this.focus();
  });
  #panels = new PanelLoader(
    this,
    ({ Panels }) =>
      new Panels(this.#parts, this.#formatting, {
        client: () => this.#client,
        api: () => this.#api,
        server: () => this.#server,
        attribute: (name) => this.getAttribute(name),
        insert: (change) => this.#insert(change),
        prepend: (entries, more) => {
          this.#insert(() => this.#messageList.prepend(entries, more));
          if (!more) this.#showEarlier();
        },
        set: (values) => this.#attempt(() => this.#client?.send("settings", values)),
        resume: (thread) => this.#start({ thread }),
        focus: () => this.focus(),
      }),
    () => this.#showMissing(),
  );
  #choice = new ProfileChoice(this.#parts.choice, async (chosen) => (await this.#panels.load()).profiles(chosen));
  #window = new WindowMessages(window, () => this.getAttribute("parent-origin"), (data) => {
    this.#attempt(() => this.#client?.send(WINDOW_MESSAGE, data));
  });

  constructor() {
    super();
    const { chat, empty } = this.#parts;
    empty.after(this.#starters.element);
    const root = this.attachShadow({ mode: "open", delegatesFocus: false });
    root.adoptedStyleSheets = [stylesheet];
    root.append(chat);
    this.#wire();
  }

  /** The protocol beneath. */
  get client() {
    return this.#client;
  }

  connectedCallback() {
    this.#scrolling.observe(this.#parts.list, this.#parts.earlier);
    this.#messageList.questions.resume();
    this.#panels.tell(({ older }) => older.observe());
    this.#window.listen();
    this.#unread.observe();
    this.#composer.fit(); // only now has anything a size
    if (!this.#client || !this.#reclaim()) this.#begin();
    // What is over, or goes on elsewhere, does not begin anew because the element is at another place.
    else if (this.#parts.choice.hidden && this.#state.state === "closed") this.#client.connect();
  }

  disconnectedCallback() {
    // An element that is only being moved is back before this runs.
    queueMicrotask(() => this.isConnected || this.#leave());
  }

  attributeChangedCallback(name: string, before: string | null, now: string | null) {
    if (before === now) return;
    const another = name === "src" || (name === "owner" && this.#client && now !== this.#owner);
    if (another && this.isConnected) this.#begin();
    else this.#label();
  }

  /** Put the cursor where one writes. */
  focus(options?: FocusOptions) {
    this.#parts.input.focus(options);
  }

  #leave() {
    this.#scrolling.disconnect();
    this.#messageList.questions.pause();
    this.#panels.tell(({ older }) => older.disconnect());
    this.#window.unlisten();
    this.#unread.disconnect();
    this.#work.show(null);
    this.#client?.close();
    this.#unclaim();
  }

  // --- beginnings -----------------------------------------------------------------------------------

  /** @param waited for another element to leave this one's place */
  #begin(waited = false) {
    this.#client?.close();
    this.#client = this.#server = null;
    this.#unclaim();
    this.#choice.cancel();
    this.#offerChoice(false);
    this.#panels.tell(({ threads }) => threads.clear());
    this.#reset("new");
    speak(this.#language);
    this.#label();
    const src = this.getAttribute("src");
    if (!src) return;
    // Who replaces an element may put in the new one before they remove the old one.
    if (!waited && this.id && places.get(`${src} id=${this.id}`)?.isConnected) {
      return queueMicrotask(() => this.isConnected && !this.#client && this.#begin(true));
    }
    const [profile, thread, owner] = ["profile", "thread", "owner"].map((name) => this.getAttribute(name) ?? undefined);
    const language = this.#language;
    this.#owner = this.getAttribute("owner");
    const client = new ChatClient(src, { profile, thread, language, owner, key: this.#claim(src), latest: this.#latest });
    this.#client = client;
    this.#server = this.#api ? new FileServer(this.#api, client) : null;
    if (Object.keys(client.storage.env).length) this.#panels.use(({ env }) => env.refresh());
    else this.#panels.tell(({ env }) => env.refresh());
    this.#listen(client);
    this.#composer.clear();
    this.#composer.recall();
    this.#showWaiting();
    this.#showProfile();
    if (client.session || client.profile || !this.hasAttribute("profiles")) client.connect();
    else this.#chooseProfile(() => client.connect());
  }

  /** What tells this element's conversation from others of its chat on the page: its `id`, or its place. */
  #claim(src: string) {
    // What was just removed makes way for what is put in its place.
    for (const element of places.values()) if (!element.isConnected) element.#leave();
    let key = this.id && `id=${this.id}`;
    for (let place = 2; places.has(`${src} ${key}`); place++) key = `${place}`;
    this.#place = `${src} ${key}`;
    places.set(this.#place, this);
    return key;
  }

  /** Whether it has its conversation still; or again, to show that it is over. */
  #reclaim() {
    const other = places.get(this.#place);
    const same = this.#place.startsWith(`${this.getAttribute("src")} `) && this.getAttribute("owner") === this.#owner;
    if (other === this || !same) return same;
    if (other || !SILENT.includes(this.#state.state)) return false;
    places.set(this.#place, this);
    return true;
  }

  #unclaim() {
    if (places.get(this.#place) === this) places.delete(this.#place);
  }

  #listen(client: ChatClient) {
    const on: (type: string, handle: (detail: any) => void) => void = (type, handle) =>
      client.addEventListener(type, (event) => {
        if (client === this.#client) handle((event as CustomEvent).detail);
      });
    on("state", (state) => this.#showState(state));
    on("owner", () => this.#forget());
    on("reset", ({ reason, before }) => {
      this.#reset(reason);
      if (before) this.#expect(client, before);
    });
    on("ready", () => this.#caughtUp());
    on("event", (entry) => this.#showEntry(entry));
    on("token", ({ message, text }) => this.#messageList.append(message, text));
    on("stream", ({ message, content }) => this.#messageList.replace(message, content));
    on("turn", () => {
      this.#work.show(client.turn?.turn ?? null); // at once: reports of this turn may follow in the same message
      this.#frame.request();
    });
    on("pending", ({ length }) => (length <= SHOWN_AT_ONCE ? this.#showWaiting() : this.#showWaitingSoon()));
    on("notice", (notice) => this.#showNotice(notice));
  }

  /** Somebody else is here. */
  #forget() {
    this.#composer.clear();
    this.#panels.tell(({ env, threads }) => {
      env.forget();
      threads.clear();
    });
    this.#notice.dismiss();
    this.#showProfile();
  }

  #chooseProfile(then: () => void) {
    this.#offerChoice(true);
    void this.#choice.ask((name) => {
      const focused = this.#parts.choice.contains(this.shadowRoot?.activeElement ?? null);
      this.#offerChoice(false);
      if (this.#client && name) this.#client.profile = name;
      this.#showProfile();
      then();
      if (focused) this.focus();
    });
  }

  /** @param offered whether a choice stands in the conversation's place */
  #offerChoice(offered: boolean) {
    const { choice, body, composer, activity, end, status } = this.#parts;
    choice.hidden = !offered;
    this.#label(); // some tools are of no use now
    if (offered) this.#parts.banner.hidden = true;
    body.hidden = composer.hidden = activity.hidden = end.hidden = status.hidden = offered;
  }

  /** A new conversation, with another profile if there are some to choose from; not while one begins. */
  #startAnew() {
    if (this.hasAttribute("profiles")) {
      this.#client?.close();
      this.#chooseProfile(() => this.#start({}));
    } else if (this.#client?.session || this.#state.state !== "connecting") this.#start({});
  }

  #start(options: { thread?: string }) {
    this.#choice.cancel();
    this.#offerChoice(false);
    this.#client?.newSession(options);
    this.focus();
  }

  // --- what the client says -----------------------------------------------------------------------

  #reset(reason: string) {
    const { messages, announcer } = this.#parts;
    this.#messageList.clear();
    announcer.textContent = ""; // it may be an answer
    this.#starters.offer();
    this.#panels.tell(({ settings, earlier, older }) => {
      settings.clear();
      earlier.clear();
      older.clear();
    });
    this.#unread.clear();
    if (reason !== "gap" && reason !== "latest") this.#composer.restart(reason !== "new");
    this.#ready = false;
    this.#scrolling.reset();
    messages.setAttribute("aria-live", "off");
    messages.setAttribute("aria-busy", "true");
    if (texts.notes[reason]) this.#messageList.note(texts.notes[reason]);
    this.#showEmpty();
  }

  /** The conversation has a beginning that is not here. @param before the entry that is */
  #expect(client: ChatClient, before: number) {
    this.#messageList.more = true;
    this.#panels.use(({ older }) => {
      this.#insert(() => older.begin(this.#api ?? "", client, before));
      if (this.#ready) older.arrived();
    });
  }

  /** Put something above what the reader sees, who stays there, and to whom it is no news. */
  #insert(change: () => void) {
    this.#parts.messages.setAttribute("aria-live", "off");
    this.#scrolling.hold(change);
    this.#showEmpty();
    setTimeout(() => this.#readOut());
  }

  /** What was said in the thread before this session. */
  #showEarlier() {
    const { thread, session } = this.#client ?? {};
    const api = this.#api;
    if (thread && session && api && !this.#messageList.more) this.#panels.use(({ earlier }) => void earlier.show(api, thread, session));
  }

  /** The replay is complete: from now on, what comes is news. */
  #caughtUp() {
    this.#ready = true;
    this.#frame.now();
    this.#showEarlier();
    this.#panels.retry();
    this.#passOn();
    // A moment later: all of the replay may have come in one message, and is not to be read out.
    setTimeout(() => this.#readOut());
  }

  #readOut() {
    if (!this.#ready) return;
    this.#parts.messages.removeAttribute("aria-busy");
    this.#parts.messages.setAttribute("aria-live", "polite");
  }

  #showEntry(entry: Entry & { live: boolean }) {
    const { seq, name, data, n, live } = entry;
    const shown = this.#keepFocus(() => this.#messageList.show(entry, live)) || (n == null && (this.#set(name, data) || this.#offer(name, data)));
    if (n == null && name === WINDOW_MESSAGE && this.#client) this.#window.relay(this.#client, seq, data);
    if (n == null && (name === "message" || name === "ask")) this.#unread.came(seq);
    if (n == null && name === "progress") this.#work.report(entry.turn, data);
    if (n != null && !live) this.#work.began(n, data?.created_at);
    if (name === "ask" && this.#ready) this.#passOn();
    if (!shown) this.#dispatch("chat-event", { seq, name, data, live });
    this.#frame.request();
  }

  /** @returns whether it was about settings */
  #set(name: string, data: any): boolean {
    const set = name === "settings_form" || name === "settings";
    if (set) this.#panels.use(({ settings }) => settings.show(name, data));
    return set;
  }

  /** @returns whether it was what one may begin with */
  #offer(name: string, data: any): boolean {
    const offered = name === "starters" && Array.isArray(data?.starters);
    if (offered) this.#starters.offer(data);
    return offered;
  }

  /** The application's own questions are its own to answer; of a replay, those that are still open. */
  #passOn() {
    for (const ask of this.#messageList.questions.takeOthers()) this.#dispatch("chat-ask", ask);
  }

  /** With thousands of them, not with each one. */
  #showWaitingSoon() {
    this.#waiting ??= window.setTimeout(() => this.#showWaiting(), SHOWN_EVERY);
  }

  #showWaiting() {
    window.clearTimeout(this.#waiting);
    this.#waiting = undefined;
    const client = this.#client;
    if (!client) return;
    const frames = client.pending;
    this.#messageList.showWaiting(frames, client.state.state === "online");
    this.#panels.loaded?.settings.update(frames);
    this.#showEmpty();
  }

  #showEmpty() {
    const { empty, earlier } = this.#parts;
    const { state, attempt } = this.#state;
    const failing = !this.#ready && attempt > 1; // the banner says so
    empty.hidden = failing || !this.#messageList.empty || !earlier.hidden || SILENT.includes(state);
    this.#starters.element.hidden = empty.hidden || !this.#ready || !this.#starters.any;
    empty.textContent = !this.#ready ? texts.states.connecting : this.#starters.any ? texts.starters : texts.empty;
  }

  #showWork() {
    const { working, stop, activity, hint } = this.#parts;
    const busy = this.#working;
    const asked = this.#messageList.questions.open; // the server works at waiting for us
    const answering = !this.#composer.editing && this.#messageList.questions.openText !== undefined;
    const choosing = !answering && this.#messageList.questions.openChoice;
    this.#keepFocus(() => {
      working.hidden = !busy || asked;
      stop.hidden = !busy;
    });
    hint.hidden = busy && !answering && !choosing;
    hint.textContent = answering ? texts.answerHint : choosing ? texts.choiceHint : texts.hint;
    activity.toggleAttribute("data-question", answering || choosing);
    this.#composer.answering = answering;
  }

  /** How many messages to begin with. */
  get #latest() {
    const asked = this.getAttribute("latest");
    if (!this.#api || asked === "all") return undefined;
    const count = Number(asked || LATEST);
    return Number.isInteger(count) && count >= 1 ? Math.min(count, MOST) : LATEST;
  }

  get #working() {
    return this.#state.state === "online" && this.#client?.turn != null;
  }

  #showNotice({ code, detail, frame, retryAfter }: NoticeDetail) {
    if (frame) this.#dispatch("chat-event-refused", { code, detail, frame });
    // What becomes of a hello is told by the state that follows.
    if (SAID_ELSEWHERE.includes(code) || (detail && !frame && this.#state.state === "connecting")) return;
    if (frame?.name === "settings") return this.#panels.use(({ settings }) => settings.refused(frame.data, detail || code));
    const text = frame?.data?.content;
    const written = frame?.type === "answer" || frame?.name === "message";
    if (written && text && typeof text === "string") this.#composer.giveBack(text);
    const known = texts.notices[code] ?? detail;
    this.#notice.show(known || (frame?.type === "answer" ? texts.answerRefused : frame?.name === "action" ? texts.actionRefused : code), retryAfter);
  }

  // --- states ---------------------------------------------------------------------------------------

  get #state(): StateDetail {
    return this.#client?.state ?? { state: "closed", attempt: 0 };
  }

  #showState(state: StateDetail) {
    const { chat, status, composer, activity, end, dialog } = this.#parts;
    const silent = SILENT.includes(state.state);
    const { reached = false, session } = this.#client ?? {};
    const past = { reached, session: reached || Boolean(session) };
    this.setAttribute("data-state", state.state);
    chat.setAttribute("data-state", state.state);
    status.textContent = statusWords(state, past);
    if (silent) {
      this.#notice.dismiss();
      dialog.close();
      this.#panels.loaded?.settings.dialog.close();
    }
    this.#keepFocus(() => {
      composer.hidden = activity.hidden = end.hidden = silent;
      this.#banner.show(state, past, this.getAttribute("login-url"));
      this.#showKeys(state);
    });
    // What was written before a login comes back with its conversation.
    if (state.state === "online" && !this.#composer.editing && !this.#composer.text) this.#composer.recall();
    this.#showWaiting();
    this.#showWork();
    if (state.state === "offline" && state.attempt > 1 && !past.reached && !state.reason) this.#explain();
    this.#dispatch("chat-state", state);
  }

  /** Tell who sets this up what it may be, once. */
  #explain() {
    const url = this.#client?.url ?? "";
    if (unreachable.has(url)) return;
    unreachable.add(url);
    console.error(
      `<chat-session> cannot connect to ${url}. The usual causes: no websocket route has this path; runserver is not ` +
        `daphne's ('daphne' comes first in INSTALLED_APPS), or the server takes no websockets; ${location.host || "this page"} is ` +
        `not in ALLOWED_HOSTS, and ${location.origin} not in CHATSESSIONS["ALLOWED_ORIGINS"], so that the server refuses its pages (403); the server is not running. Its log says more.`,
    );
  }

  #showKeys({ state, reason, detail }: StateDetail) {
    const { keys } = this.#parts;
    keys.hidden = state !== "refused" || reason !== "missing_env";
    if (keys.hidden) return this.#panels.tell(({ env }) => env.release());
    const focused = keys.matches(":focus-within");
    if (!this.#panels.loaded) keys.replaceChildren(create("p", { part: "keys-text", role: "status" }, texts.loading));
    if (focused) keys.focus();
    this.#panels.use(({ env }) => env.demand((detail ?? "").split(",").map((name) => name.trim()).filter(Boolean)));
  }

  /** Nothing goes on without the keys, and what asks for them could not be loaded. */
  #showMissing() {
    const again = button("primary", texts.tryAgain, () => this.#showKeys(this.#state));
    this.#parts.keys.replaceChildren(create("p", { part: "keys-text", role: "alert" }, texts.panelsFailed), again);
  }

  /** Change something; if that takes away what has the focus, it goes where one goes on, and if that was only moved, back to it. */
  #keepFocus<T>(change: () => T): T {
    const { composer, input, banner, bannerLink, bannerButton, keys } = this.#parts;
    const focused = this.shadowRoot?.activeElement as HTMLElement | null;
    const result = change();
    if (!focused) return result;
    if (focused.isConnected && focused.checkVisibility()) {
      if (focused !== this.shadowRoot?.activeElement) focused.focus({ preventScroll: true });
    } else if (!composer.hidden) input.focus();
    else if (!keys.hidden) (keys.querySelector("input") ?? keys).focus();
    else if (!banner.hidden) (bannerLink.hidden ? bannerButton : bannerLink).focus();
    return result;
  }

  /** The banner's button: the way out of the state. */
  #resolve() {
    const { state } = this.#state;
    if (state === "ended") return this.#startAnew();
    this.#client?.connect();
    this.focus();
  }

  // --- what a person does -----------------------------------------------------------------------------

  #wire() {
    const { messages, stop, jump, dismiss, anew, end, bannerButton, dialog, endConfirm } = this.#parts;
    messages.addEventListener("keydown", (event) => event.key === "Escape" && this.#stop() && event.preventDefault());
    stop.addEventListener("click", () => this.#stop());
    jump.addEventListener("click", () => {
      this.#scrolling.toEnd();
      this.focus();
    });
    dismiss.addEventListener("click", () => {
      this.#notice.dismiss();
      this.focus();
    });
    bannerButton.addEventListener("click", () => this.#resolve());
    // A second click of a double click may come when the conversation has begun.
    anew.addEventListener("click", ({ detail }) => detail < 2 && this.#startAnew());
    end.addEventListener("click", () => dialog.showModal());
    endConfirm.addEventListener("click", () => this.#client?.end());
  }

  /** @param replaces the number of the message that it takes the place of */
  #say(text: string, files: string[], replaces?: number) {
    const question = replaces === undefined && this.#messageList.questions.openText;
    if (question) return this.#answer(question.call, { content: text });
    const said = this.#attempt(() => this.#client?.sendMessage(text, files, replaces));
    if (said) this.#scrolling.toEnd();
    return said;
  }

  #answer(call: string, data: any) {
    const answered = this.#attempt(() => this.#client?.answer(call, data));
    if (!answered) return false;
    this.#keepFocus(() => this.#showWaiting());
    this.#scrolling.toEnd();
    return true;
  }

  /** Do something that may be refused at once. */
  #attempt(send: () => void) {
    try {
      send();
    } catch (error) {
      this.#notice.show(texts.notices[(error as any)?.code] ?? (error instanceof Error ? error.message : String(error)));
      return false;
    }
    this.#notice.dismiss();
    return true;
  }

  /** @returns whether there was something to stop */
  #stop() {
    if (!this.#working) return false;
    this.#client?.stop();
    this.focus();
    return true;
  }

  // --- small things ----------------------------------------------------------------------------------------

  /** That of the session: its own, or that of the page around it. */
  get #language() {
    return this.getAttribute("language") || this.closest("[lang]")?.getAttribute("lang") || undefined;
  }

  /** Where `chatsessions.urls` is included, with the slash at its end. */
  get #api() {
    const base = this.getAttribute("api");
    return base && !base.endsWith("/") ? `${base}/` : base;
  }

  #label() {
    const { chat, heading, anew, choice } = this.#parts;
    const title = this.getAttribute("heading") ?? "";
    heading.textContent = title;
    heading.hidden = !title;
    chat.setAttribute("aria-label", title || texts.log);
    this.#messageList.author = title;
    this.#composer.placeholder = this.getAttribute("placeholder") || texts.placeholder;
    this.#composer.files = this.hasAttribute("files") && Boolean(this.#api);
    anew.hidden = !choice.hidden || !(this.hasAttribute("threads") || this.hasAttribute("profiles"));
    const listed = this.hasAttribute("threads") && Boolean(this.#api);
    const exported = this.hasAttribute("export") && Boolean(this.#api);
    const show = (panels: Panels) => {
      panels.threads.tool.hidden = !listed;
      panels.export.tool.hidden = !exported;
    };
    if ((listed || exported) && this.isConnected) this.#panels.use(show);
    else this.#panels.tell(show);
  }

  #showProfile() {
    const { profile } = this.#parts;
    const name = this.#client?.profile ?? "";
    profile.hidden = !name;
    profile.replaceChildren(create("bdi", {}, name));
    profile.title = name && texts.profile(name);
  }

  #dispatch(type: string, detail: any) {
    this.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "chat-session": ChatSessionElement;
  }
}

if (!customElements.get("chat-session")) customElements.define("chat-session", ChatSessionElement);
