/** The messages on the page: one entry of the log after the other becomes elements. */
import { button, create } from "./dom.js";
import { texts } from "./texts.js";

/** @typedef {import("./delivery.js").Entry} Entry */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */

/**
 * A message as the server describes it.
 * @typedef {object} MessageData
 * @property {string} id
 * @property {string} [author]
 * @property {string} content
 * @property {string} [created_at]
 * @property {boolean} [streaming]
 * @property {{id?: string, name: string, label?: string, tooltip?: string, payload?: any}[]} [actions]
 */

/** @typedef {{call: string, kind: string, content: string}} Ask a question of the server's */

/** What a person can do inside a transcript. @typedef {object} TranscriptHandlers
 * @property {(name: string, data: any) => void} act an action button of a message was pressed
 * @property {(call: string, data: any) => void} answer an action button of a question was pressed
 */

export class Transcript {
  /** @type {Map<string, HTMLElement>} messages by their id */
  #messages = new Map();
  /** @type {Map<string, {ask: Ask, element: HTMLElement}>} open questions by their call */
  #asks = new Map();
  #list;
  #waiting;
  #handlers;
  #author = "";

  /**
   * @param {HTMLElement} list of what is in the log
   * @param {HTMLElement} waiting list of what is not yet
   * @param {TranscriptHandlers} handlers
   */
  constructor(list, waiting, handlers) {
    this.#list = list;
    this.#waiting = waiting;
    this.#handlers = handlers;
  }

  get empty() {
    return !this.#list.childElementCount && !this.#waiting.childElementCount;
  }

  /** The question that the next message answers. @returns {Ask | undefined} */
  get openQuestion() {
    return [...this.#asks.values()].map(({ ask }) => ask).filter(({ kind }) => kind === "text").at(-1);
  }

  /** Who writes when a message does not say. @param {string} author */
  set author(author) {
    this.#author = author;
  }

  clear() {
    this.#messages.clear();
    this.#asks.clear();
    this.#list.replaceChildren();
  }

  /** A remark between the messages. @param {string} text */
  note(text) {
    this.#list.append(create("p", { part: "note" }, text));
  }

  /** Show an entry. @param {Entry} entry @returns {boolean} whether it was one of ours to show */
  show({ name, data, n }) {
    if (n != null) this.#showOwn(name, data);
    else if (name === "message" || name === "message_update") this.#put(data);
    else if (name === "message_remove") this.#remove(data?.id);
    else if (name === "error") this.#list.append(failure(data));
    else if (name === "ask") this.#ask(data);
    else if (name === "ask_closed") this.#closeAsk(data?.call);
    else return false;
    return true;
  }

  /** @param {string} id @param {string} text */
  append(id, text) {
    const content = this.#messages.get(id)?.querySelector("[part~=content]");
    if (!content) return;
    if (content.lastChild instanceof Text) content.lastChild.appendData(text);
    else content.append(text);
  }

  /** @param {string} id @param {string} content so far */
  replace(id, content) {
    const shown = this.#messages.get(id)?.querySelector("[part~=content]");
    if (shown) shown.textContent = content;
    else this.#put({ id, content, streaming: true });
  }

  /** What is not in the log yet. @param {Outgoing[]} frames @param {boolean} online */
  showWaiting(frames, online) {
    const state = online ? texts.sending : texts.waiting;
    const texted = frames.map(ownText).filter((text) => text !== null);
    this.#waiting.replaceChildren(...texted.map((text) => ownMessage(text, { waiting: state })));
  }

  /** @param {string} name @param {any} data */
  #showOwn(name, data) {
    if (name === "answer") this.#closeAsk(data?.call);
    const text = ownText({ type: name === "answer" ? "answer" : "event", name, data: name === "answer" ? data?.data ?? data : data });
    if (text !== null) this.#list.append(ownMessage(text, { time: data?.created_at }));
  }

  /** @param {MessageData} data */
  #put(data) {
    const element = this.#message(data);
    const shown = this.#messages.get(data.id);
    this.#messages.set(data.id, element);
    // A new element, so that a finished stream is read out once and as a whole.
    if (shown) shown.replaceWith(element);
    else this.#list.append(element);
  }

  /** @param {string} id */
  #remove(id) {
    this.#messages.get(id)?.remove();
    this.#messages.delete(id);
  }

  /** @param {MessageData} data */
  #message({ id, author, content, created_at, streaming, actions = [] }) {
    const buttons = actions.map((action) => {
      const { id, name, payload } = action;
      return button("action", action.label || name, () => this.#handlers.act("action", { id, name, payload }), { title: action.tooltip ?? "" });
    });
    return create(
      "article",
      { part: streaming ? "message other streaming" : "message other", "data-id": id, "aria-live": streaming ? "off" : null },
      header(author || this.#author || texts.assistant, created_at),
      create("div", { part: "content" }, String(content ?? "")),
      buttons.length ? create("div", { part: "actions" }, ...buttons) : null,
    );
  }

  /** @param {any} data */
  #ask({ call, kind, content, author, created_at, actions = [] }) {
    const element = this.#message({ id: call, author, content, created_at });
    if (actions.length) element.append(create("div", { part: "actions" }, ...actions.map((/** @type {any} */ action) => this.#choice(call, action))));
    this.#asks.set(call, { ask: { call, kind, content }, element });
    this.#list.append(element);
  }

  /** @param {string} call @param {any} action */
  #choice(call, { id, name, label, payload }) {
    return button("action", label || name, () => this.#handlers.answer(call, { id, name, payload }));
  }

  /** @param {string} call */
  #closeAsk(call) {
    this.#asks.get(call)?.element.querySelector("[part~=actions]")?.remove();
    this.#asks.delete(call);
  }
}

/** What a person wrote, or null for what is no text. @param {Pick<Outgoing, "type" | "name" | "data">} frame @returns {string | null} */
function ownText({ type, name, data }) {
  if (type === "event" && name !== "message") return null;
  return typeof data?.content === "string" ? data.content : null;
}

/** @param {string} text @param {{waiting?: string, time?: string}} [options] */
function ownMessage(text, { waiting, time } = {}) {
  return create(
    "article",
    { part: waiting ? "message own waiting" : "message own" },
    header(texts.you, time, waiting),
    create("div", { part: "content" }, text),
  );
}

/** @param {string} author @param {string} [time] @param {string} [remark] */
function header(author, time, remark) {
  return create(
    "header",
    { part: "message-header" },
    create("span", { part: "author" }, author),
    time ? timestamp(time) : null,
    remark ? create("span", { part: "remark" }, remark) : null,
  );
}

/** @param {string} text in ISO 8601 */
function timestamp(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  const today = time.toDateString() === new Date().toDateString();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = today ? {} : { day: "numeric", month: "short" };
  const words = time.toLocaleString([], { ...day, hour: "numeric", minute: "2-digit" });
  return create("time", { part: "time", datetime: text, title: time.toLocaleString() }, words);
}

/** @param {any} data of an `error` entry */
function failure(data) {
  return create("article", { part: "message error", "data-code": data?.code }, create("div", { part: "content" }, data?.detail || texts.failed));
}
