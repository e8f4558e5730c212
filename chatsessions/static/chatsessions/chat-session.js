/**
 * `<chat-session src="/ws/counter/" heading="Counter">`: a conversation on a page.
 *
 * Attributes: `src` (the websocket), `heading`, `placeholder`, `profile`, `thread`, `language`.
 * Style it with `chat-session::part(…)` and the custom properties named in chat-session.css.
 *
 * Dispatches (bubbling, composed):
 * - `chat-event`: `{seq, name, data, live}`, an event of the application's own. `live` is false in a replay;
 * - `chat-state`: the `StateDetail` of the connection.
 *
 * `element.client` is the `ChatClient` beneath.
 */
import { ChatClient } from "./client.js";
import { button, create } from "./dom.js";
import { texts } from "./texts.js";
import { Transcript } from "./transcript.js";

/** @typedef {import("./client.js").StateDetail} StateDetail */
/** @typedef {import("./client.js").State} State */
/** @typedef {import("./delivery.js").Entry} Entry */
/** @typedef {{code: string, detail?: string, frame?: import("./delivery.js").Outgoing, retryAfter?: number}} Notice */

const STYLESHEET = new URL("./chat-session.css", import.meta.url).href;
/** How near to its end, in pixels, a reader counts as being at the end of the conversation. */
const NEAR = 48;
/** States in which nobody can write. @type {State[]} */
const SILENT = ["replaced", "ended", "refused"];

export class ChatSessionElement extends HTMLElement {
  static observedAttributes = ["src", "heading", "placeholder"];
  /** Every word it says. */
  static texts = texts;

  /** @type {ChatClient | null} */
  #client = null;
  #parts;
  #transcript;
  #atEnd = true;
  #ready = false;
  /** @type {number | undefined} */
  #countdown;
  #resized = new ResizeObserver(() => this.#keepAtEnd());

  constructor() {
    super();
    this.#parts = build();
    const { list, waiting } = this.#parts;
    this.#transcript = new Transcript(list, waiting, {
      act: (name, data) => this.#attempt(() => this.#client?.send(name, data)),
      answer: (call, data) => this.#attempt(() => this.#client?.answer(call, data)),
    });
    const stylesheet = create("link", { rel: "stylesheet", href: STYLESHEET });
    for (const type of ["load", "error"]) stylesheet.addEventListener(type, () => this.#dressed());
    this.attachShadow({ mode: "open", delegatesFocus: false }).append(stylesheet, this.#parts.chat);
    this.#wire();
  }

  /** The protocol beneath. */
  get client() {
    return this.#client;
  }

  connectedCallback() {
    this.#resized.observe(this.#parts.list);
    this.#resized.observe(this.#parts.messages);
    if (!this.#client) this.#begin();
    else this.#client.connect();
    this.#keepAtEnd();
  }

  disconnectedCallback() {
    // An element that is only being moved is back before this runs.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#resized.disconnect();
      this.#client?.close();
    });
  }

  /** @param {string} name @param {string | null} before @param {string | null} now */
  attributeChangedCallback(name, before, now) {
    if (before === now) return;
    if (name === "src" && this.isConnected && this.#parts) this.#begin();
    else this.#label();
  }

  /** The stylesheet is here: only now has anything a size. */
  #dressed() {
    this.#parts.chat.hidden = false;
    this.#fitInput();
  }

  /** Put the cursor where one writes. @param {FocusOptions} [options] */
  focus(options) {
    this.#parts.input.focus(options);
  }

  #begin() {
    this.#client?.close();
    this.#reset("new");
    this.#label();
    const src = this.getAttribute("src");
    if (!src) return;
    const [profile, thread, language] = ["profile", "thread", "language"].map((name) => this.getAttribute(name) ?? undefined);
    const client = new ChatClient(src, { profile, thread, language });
    this.#client = client;
    /** @type {(type: string, handle: (detail: any) => void) => void} */
    const on = (type, handle) =>
      client.addEventListener(type, (event) => {
        if (client === this.#client) handle(/** @type {CustomEvent} */ (event).detail);
      });
    on("state", (state) => this.#showState(state));
    on("reset", ({ reason }) => this.#reset(reason));
    on("ready", () => this.#caughtUp());
    on("event", (entry) => this.#showEntry(entry));
    on("token", ({ message, text }) => this.#transcript.append(message, text));
    on("stream", ({ message, content }) => this.#transcript.replace(message, content));
    on("turn", () => this.#showWork());
    on("pending", () => this.#showWaiting());
    on("notice", (notice) => this.#showNotice(notice));
    this.#parts.input.value = client.draft;
    this.#fitInput();
    this.#showWaiting();
    client.connect();
  }

  // --- what the client says -----------------------------------------------------------------------

  /** @param {string} reason */
  #reset(reason) {
    const { messages } = this.#parts;
    this.#transcript.clear();
    this.#ready = false;
    this.#atEnd = true;
    messages.setAttribute("aria-live", "off");
    messages.setAttribute("aria-busy", "true");
    if (texts.notes[reason]) this.#transcript.note(texts.notes[reason]);
    this.#showEmpty();
  }

  /** The replay is complete: from now on, what comes is news. */
  #caughtUp() {
    this.#ready = true;
    this.#parts.messages.removeAttribute("aria-busy");
    this.#parts.messages.setAttribute("aria-live", "polite");
    this.#showEmpty();
    this.#showWork();
  }

  /** @param {Entry & {live: boolean}} entry */
  #showEntry({ seq, name, data, n, live }) {
    const shown = this.#transcript.show({ seq, name, data, n });
    if (!shown) this.#dispatch("chat-event", { seq, name, data, live });
    this.#showEmpty();
    this.#showWork();
  }

  #showWaiting() {
    const client = this.#client;
    if (!client) return;
    this.#transcript.showWaiting(client.pending, client.state.state === "online");
    this.#showEmpty();
  }

  #showEmpty() {
    const { empty } = this.#parts;
    empty.hidden = !this.#transcript.empty || SILENT.includes(this.#state.state);
    empty.textContent = this.#ready ? texts.empty : texts.states.connecting;
  }

  #showWork() {
    const { working, stop, activity, hint } = this.#parts;
    const busy = this.#working;
    const asked = this.#transcript.openQuestion !== undefined; // the server works at waiting for us
    this.#keepFocus(() => {
      working.hidden = !busy || asked;
      stop.hidden = !busy;
    });
    hint.hidden = busy && !asked;
    hint.textContent = asked ? texts.answerHint : texts.hint;
    activity.toggleAttribute("data-question", asked);
  }

  get #working() {
    return this.#state.state === "online" && this.#client?.turn != null;
  }

  /** @param {Notice} notice */
  #showNotice({ code, detail, frame, retryAfter }) {
    if (code === "handler_error" || code === "interrupted") return; // the log says so too
    const text = frame?.data?.content;
    if (typeof text === "string" && !this.#parts.input.value) this.#setInput(text);
    this.#notify(texts.notices[code] ?? (detail || code), retryAfter);
  }

  /** @param {string} text @param {number} [seconds] */
  #notify(text, seconds) {
    const { notice, noticeText } = this.#parts;
    noticeText.textContent = text;
    notice.hidden = false;
    notice.toggleAttribute("data-passing", seconds !== undefined);
    window.clearTimeout(this.#noticeTimer);
    if (seconds) this.#noticeTimer = window.setTimeout(() => this.#dismiss(), Math.max(seconds, 4) * 1000);
  }

  /** @type {number | undefined} */
  #noticeTimer;

  #dismiss() {
    window.clearTimeout(this.#noticeTimer);
    this.#parts.notice.hidden = true;
    this.#parts.noticeText.textContent = "";
  }

  // --- states ---------------------------------------------------------------------------------------

  /** @returns {StateDetail} */
  get #state() {
    return this.#client?.state ?? { state: "closed", attempt: 0 };
  }

  /** @param {StateDetail} state */
  #showState(state) {
    const { chat, status, composer, activity, end, dialog } = this.#parts;
    const silent = SILENT.includes(state.state);
    this.setAttribute("data-state", state.state);
    chat.setAttribute("data-state", state.state);
    status.textContent = state.state === "connecting" && state.attempt ? texts.reconnecting : texts.states[state.state];
    if (silent) {
      this.#dismiss();
      dialog.close();
    }
    this.#keepFocus(() => {
      composer.hidden = activity.hidden = end.hidden = silent;
      this.#showBanner(state);
    });
    this.#showWaiting();
    this.#showWork();
    this.#dispatch("chat-state", state);
  }

  /** Hide and show; if that takes away what has the focus, it goes where one goes on. @param {() => void} change */
  #keepFocus(change) {
    const { composer, input, bannerButton } = this.#parts;
    const focused = this.shadowRoot?.activeElement;
    change();
    if (focused && !focused.checkVisibility()) (composer.hidden ? bannerButton : input).focus();
  }

  /** @param {StateDetail} state */
  #showBanner(state) {
    const { banner, bannerText, bannerButton } = this.#parts;
    window.clearInterval(this.#countdown);
    const [text, label] = bannerWords(state);
    banner.hidden = !text;
    bannerText.textContent = text;
    bannerButton.textContent = label;
    bannerButton.hidden = !label;
    this.#parts.bannerTime.textContent = "";
    if (text && state.state === "offline") this.#countDown(Date.now() + (state.retryIn ?? 0) * 1000);
  }

  /** @param {number} until */
  #countDown(until) {
    const show = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      this.#parts.bannerTime.textContent = texts.retryIn(seconds);
    };
    show();
    this.#countdown = window.setInterval(show, 1000);
  }

  /** The banner's button: the way out of the state. */
  #resolve() {
    const { state } = this.#state;
    if (state === "ended") this.#client?.newSession();
    else if (state === "replaced") this.#client?.takeOver();
    else this.#client?.connect();
    this.focus();
  }

  // --- what a person does -----------------------------------------------------------------------------

  #wire() {
    const { composer, input, messages, stop, jump, dismiss, end, bannerButton, dialog, endConfirm } = this.#parts;
    composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => this.#edited());
    messages.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    messages.addEventListener("keydown", (event) => event.key === "Escape" && this.#stop());
    stop.addEventListener("click", () => this.#stop());
    jump.addEventListener("click", () => {
      this.#toEnd();
      this.focus();
    });
    dismiss.addEventListener("click", () => {
      this.#dismiss();
      this.focus();
    });
    bannerButton.addEventListener("click", () => this.#resolve());
    end.addEventListener("click", () => dialog.showModal());
    endConfirm.addEventListener("click", () => this.#client?.end());
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") this.#stop();
    const composing = event.isComposing || event.keyCode === 229; // an Enter that ends a composition is not ours
    if (event.key !== "Enter" || event.shiftKey || composing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const { input } = this.#parts;
    const text = input.value;
    if (!text.trim() || !this.#client) return input.focus();
    const question = this.#transcript.openQuestion;
    const sent = this.#attempt(() =>
      question ? this.#client?.answer(question.call, { content: text }) : this.#client?.sendMessage(text),
    );
    if (sent) {
      this.#setInput("");
      this.#toEnd();
    }
    input.focus();
  }

  /** Do something that may be refused at once. @param {() => void} send */
  #attempt(send) {
    try {
      send();
    } catch (error) {
      this.#notify(error instanceof Error ? error.message : String(error));
      return false;
    }
    this.#dismiss();
    return true;
  }

  #stop() {
    if (!this.#working) return;
    this.#client?.stop();
    this.focus();
  }

  /** @param {string} text */
  #setInput(text) {
    this.#parts.input.value = text;
    this.#edited();
  }

  #edited() {
    if (this.#client) this.#client.draft = this.#parts.input.value;
    this.#fitInput();
  }

  /** As high as the text needs, within what the stylesheet allows. */
  #fitInput() {
    const { input } = this.#parts;
    input.style.height = "auto";
    input.style.height = input.value ? `${input.scrollHeight + input.offsetHeight - input.clientHeight}px` : "";
  }

  // --- scrolling -----------------------------------------------------------------------------------------

  #scrolled() {
    const { messages, jump } = this.#parts;
    this.#atEnd = messages.scrollHeight - messages.scrollTop - messages.clientHeight < NEAR;
    jump.hidden = this.#atEnd;
  }

  #keepAtEnd() {
    if (this.#atEnd) this.#toEnd();
    else this.#scrolled();
  }

  #toEnd() {
    const { messages, jump } = this.#parts;
    this.#atEnd = true;
    jump.hidden = true;
    messages.scrollTop = messages.scrollHeight;
  }

  // --- small things ----------------------------------------------------------------------------------------

  #label() {
    const { chat, heading, input } = this.#parts;
    const title = this.getAttribute("heading") ?? "";
    heading.textContent = title;
    heading.hidden = !title;
    chat.setAttribute("aria-label", title || texts.log);
    input.placeholder = this.getAttribute("placeholder") || texts.placeholder;
    this.#transcript.author = title;
  }

  /** @param {string} type @param {any} detail */
  #dispatch(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { bubbles: true, composed: true, detail }));
  }
}

/** What to say of a state, and on the button that leads out of it. @param {StateDetail} state @returns {[string, string]} */
function bannerWords({ state, attempt, reason, code, detail }) {
  // The first attempt follows at once: no need to alarm anybody.
  if ((state === "offline" || state === "connecting") && attempt > 1) return [texts.offline, texts.tryNow];
  if (state === "replaced") return [texts.replaced, texts.takeOver];
  if (state === "ended") return [texts.endedBy[reason ?? ""] ?? texts.ended, texts.startNew];
  if (state === "refused") return [texts.refusedWith[code ?? 0] ?? (detail || texts.refused), texts.tryAgain];
  return ["", ""];
}

/** The element's inside. */
function build() {
  const heading = create("h2", { part: "heading" });
  const status = create("span", { part: "status", role: "status" }, texts.states.connecting);
  const end = button("end", texts.end, () => {}, { title: texts.endTitle });
  const list = create("div", { part: "list" });
  const waiting = create("div", { part: "waiting-list", "aria-live": "off" });
  const empty = create("p", { part: "empty" }, texts.states.connecting);
  const messages = create("div", { part: "messages", role: "log", "aria-label": texts.log, "aria-live": "off", tabindex: "0" }, empty, list, waiting);
  const jump = button("jump", texts.jump, () => {}, { hidden: true });
  const noticeText = create("span", { part: "notice-text" });
  const dismiss = button("dismiss", "×", () => {}, { "aria-label": texts.dismiss });
  const notice = create("div", { part: "notice", role: "alert", hidden: true }, noticeText, dismiss);
  const bannerText = create("span", { part: "banner-text", role: "status" });
  const bannerTime = create("span", { part: "banner-time" });
  const bannerButton = button("banner-button", "", () => {});
  const banner = create("div", { part: "banner", hidden: true }, create("p", {}, bannerText, " ", bannerTime), bannerButton);
  const working = create("span", { part: "working", hidden: true }, create("span", { part: "dots", "aria-hidden": "true" }, create("i"), create("i"), create("i")), texts.working);
  const hint = create("span", { part: "hint", id: "hint" }, texts.hint);
  const stop = button("stop", texts.stop, () => {}, { hidden: true });
  const activity = create("div", { part: "activity" }, working, hint, stop);
  const input = create("textarea", { part: "input", id: "input", rows: "1", enterkeyhint: "send", "aria-describedby": "hint", autocomplete: "off" });
  const send = create("button", { part: "send", type: "submit" }, texts.send);
  const composer = create("form", { part: "composer" }, create("label", { part: "label", for: "input" }, texts.inputLabel), input, send);
  const endConfirm = create("button", { part: "end-confirm", value: "end" }, texts.endConfirm);
  const endCancel = create("button", { part: "end-cancel", value: "", autofocus: true }, texts.endCancel);
  const question = create("p", { id: "question" }, texts.endQuestion);
  const dialog = create("dialog", { part: "dialog", "aria-labelledby": "question" }, create("form", { method: "dialog" }, question, endCancel, endConfirm));
  const chat = create("section", { part: "chat", hidden: true },
    create("header", { part: "header" }, heading, status, end),
    create("div", { part: "body" }, messages, jump),
    notice, banner, activity, composer, dialog,
  );
  return { chat, heading, status, end, messages, list, waiting, empty, jump, notice, noticeText, dismiss, banner, bannerText,
    bannerTime, bannerButton, working, hint, stop, activity, input, composer, dialog, endConfirm };
}

if (!customElements.get("chat-session")) customElements.define("chat-session", ChatSessionElement);
