/** The messages on the page: one entry of the log after the other becomes elements. */
import { Actions } from "./actions.js";
import { Asks } from "./asks.js";
import { create } from "./dom.js";
import { Files } from "./files.js";
import { article, failure, ownArticle } from "./message.js";
import { Steps, isStep } from "./steps.js";
import { texts } from "./texts.js";

/** @typedef {import("./delivery.js").Entry} Entry */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** @typedef {import("./actions.js").Action} Action */
/** @typedef {import("./message.js").FileInfo} FileInfo */
/** @typedef {import("./uploads.js").FileServer} FileServer */

/**
 * A message as the server describes it.
 * @typedef {object} MessageData
 * @property {string} id
 * @property {string} [author]
 * @property {string} content
 * @property {string} [created_at]
 * @property {boolean} [streaming]
 * @property {Action[]} [actions]
 * @property {FileInfo[]} [files]
 * @property {any} [metadata] `error`: it tells of a failure
 * @property {number} [n] in a change: it is of what a person wrote, by the event with this number
 */

/** What a person wrote: its text, and its files or their ids. @typedef {{text: string, files?: (string | FileInfo)[]}} Words */

/**
 * What happens around a transcript.
 * @typedef {object} TranscriptHandlers
 * @property {(data: {id: string, name: string, payload: any}) => void} act an action of a message was pressed
 * @property {(call: string, data: any) => void} answer a question was answered in its own field
 * @property {() => void} asked another question is open, or none
 * @property {(text: string) => void} announce say it to who listens
 * @property {(text: string) => void} notify say what went wrong
 * @property {() => FileServer | null} server where files are
 */

export class Transcript {
  /** @type {Map<string, HTMLElement>} messages by their id */
  #messages = new Map();
  /** @type {Map<number, HTMLElement>} what persons wrote, by the number of its event: ids are chosen by clients */
  #own = new Map();
  #list;
  #waiting;
  #actions;
  #files;
  #steps;
  #author = "";

  /**
   * @param {HTMLElement} list of what is in the log
   * @param {HTMLElement} waiting list of what is not yet
   * @param {TranscriptHandlers} handlers
   */
  constructor(list, waiting, { act, asked, ...handlers }) {
    this.#list = list;
    this.#waiting = waiting;
    this.#actions = new Actions(act);
    this.#files = new Files(handlers.server, handlers.notify);
    this.#steps = new Steps(list);
    /** The bot's questions. */
    this.asks = new Asks({ ...handlers, changed: asked });
  }

  get empty() {
    return ![...this.#list.children].some((element) => !/** @type {HTMLElement} */ (element).hidden) && !this.#waiting.childElementCount;
  }

  /** Who writes when a message does not say. @param {string} author */
  set author(author) {
    this.#author = author;
  }

  clear() {
    this.#messages.clear();
    this.#own.clear();
    this.#actions.clear();
    this.#files.clear();
    this.#steps.clear();
    this.asks.clear();
    this.#list.replaceChildren();
  }

  /** A remark between the messages. @param {string} text */
  note(text) {
    this.#list.append(create("p", { part: "note" }, text));
  }

  /** Show an entry. @param {Entry} entry @param {boolean} live @returns {boolean} whether it was one of ours to show */
  show({ name, data, n }, live) {
    if (n != null) this.#showOwn(name, data, n);
    else if (name === "message_update" && data?.n != null) this.#changeOwn(data);
    else if (name === "message_remove" && data?.n != null) this.#removeOwn(data.n);
    else if (name === "message" || name === "message_update") this.#put(data);
    else if (name === "message_remove") this.#remove(data?.id);
    else if ((name === "step" || name === "step_update") && isStep(data)) this.#steps.put(data);
    else if (name === "step_remove" && isStep(data)) this.#steps.remove(data.id);
    else if (name === "error") this.#list.append(failure(data));
    else if (name === "ask") this.#list.append(this.asks.show(data, data.author || this.#author || texts.assistant, live));
    else if (name === "ask_closed") this.asks.close(data?.call, data?.outcome);
    else return false;
    return true;
  }

  /** @param {string} id @param {string} text */
  append(id, text) {
    const content = this.#content(id);
    if (!content) return;
    content.hidden = false;
    if (content.lastChild instanceof Text) content.lastChild.appendData(text);
    else content.append(text);
  }

  /** @param {string} id @param {string} content so far */
  replace(id, content) {
    const shown = this.#content(id);
    if (shown) shown.textContent = content;
    else this.#put({ id, content, streaming: true });
  }

  /** What is not in the log yet. @param {Outgoing[]} frames @param {boolean} online */
  showWaiting(frames, online) {
    const state = online ? texts.sending : texts.waiting;
    const words = frames.map((frame) => this.#words(frame.type === "answer" ? "answer" : frame.name, frame.type === "answer" ? frame : frame.data));
    this.#waiting.replaceChildren(...words.flatMap((said) => (said ? [this.#written(said, { waiting: state })] : [])));
    this.asks.update(new Set(frames.flatMap(({ type, call }) => (type === "answer" && call ? [call] : []))));
    this.#actions.update(online, new Set(frames.flatMap(({ name, data }) => (name === "action" ? [data?.id] : []))));
  }

  /** @param {string} name @param {any} data @param {number} n */
  #showOwn(name, data, n) {
    const words = this.#words(name, data);
    if (name === "answer") this.asks.close(data?.call);
    if (!words) return;
    const element = this.#written(words, { time: data?.created_at });
    this.#own.set(n, element);
    this.#list.append(element);
  }

  /** The bot has changed what a person wrote. Where no files are named they are as they were. @param {MessageData & {n?: number}} data */
  #changeOwn({ n, content, created_at, files }) {
    const shown = this.#own.get(Number(n));
    const element = this.#written({ text: String(content ?? ""), files }, { time: created_at });
    const kept = files ? null : shown?.querySelector("[part~=files]");
    if (kept) element.append(kept);
    this.#own.set(Number(n), element);
    if (shown) shown.replaceWith(element);
    else this.#list.append(element);
  }

  /** @param {number} n */
  #removeOwn(n) {
    this.#own.get(n)?.remove();
    this.#own.delete(n);
  }

  /** What a person said with a frame, or null for what is no talk. @param {string | undefined} name @param {any} data @returns {Words | null} */
  #words(name, data) {
    if (name === "answer") return this.asks.words(data);
    if (name !== "message" || typeof data?.content !== "string") return null;
    return { text: data.content, files: Array.isArray(data.files) ? data.files : undefined };
  }

  /** @param {Words} words @param {{waiting?: string, time?: string}} options */
  #written({ text, files }, options) {
    return ownArticle(text, { ...options, files: this.#files.list(files) });
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
    this.#actions.forget(id);
  }

  /** @param {MessageData} data */
  #message({ id, author, content, created_at, streaming, actions, files, metadata }) {
    const kind = metadata?.error === true ? "other error" : "other";
    const element = article(
      {
        author: author || this.#author || texts.assistant,
        text: String(content ?? ""),
        time: created_at,
        kind: streaming ? `${kind} streaming` : kind,
        files: this.#files.list(files),
      },
      this.#actions.row(id, actions),
    );
    element.dataset.id = id;
    // Such as a stream that was interrupted before its first word.
    element.hidden = !streaming && !content && !files?.length && !actions?.length;
    if (streaming) element.setAttribute("aria-live", "off");
    return element;
  }

  /** @param {string} id @returns {HTMLElement | null | undefined} */
  #content(id) {
    return this.#steps.output(id) ?? this.#messages.get(id)?.querySelector("[part~=content]");
  }
}
