/** Earlier conversations of who is logged in: a list to choose from, and what was said in one. */
import { button, create, dialogOf, isolated, tool } from "./dom.js";
import { article, ownArticle, timestamp } from "./message.js";
import { texts } from "./texts.js";

/**
 * @typedef {object} Thread
 * @property {string} id
 * @property {string} [chat]
 * @property {string} [title]
 * @property {string} [started] in ISO 8601
 * @property {string} [last_seen]
 */

/** Milliseconds after the last key before a search begins. */
const TYPING = 300;

/** @param {string} url @returns {Promise<any>} */
async function get(url) {
  const response = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

/** The list, in a panel at the side. */
export class Threads {
  #base;
  #chat;
  #choose;
  #search = create("input", { type: "search", part: "field-control", id: "thread-search", autocomplete: "off" });
  #list = create("ul", { part: "threads-list" });
  #status = create("p", { part: "threads-status", role: "status" });
  #earlier = button("secondary", texts.previousPage, () => this.#load(this.#page - 1));
  #later = button("secondary", texts.nextPage, () => this.#load(this.#page + 1));
  #paging = create("div", { part: "dialog-ways", hidden: true }, this.#earlier, this.#later);
  #page = 1;
  #request = 0;
  /** @type {number | undefined} */
  #typing;

  /**
   * @param {() => string | null} base where `chatsessions.urls` is included
   * @param {() => string | null} chat only the conversations of this one
   * @param {(thread: string) => void} choose
   */
  constructor(base, chat, choose) {
    this.#base = base;
    this.#chat = chat;
    this.#choose = choose;
    const search = create("div", { part: "field" }, create("label", { part: "field-label", for: "thread-search" }, texts.searchThreads), this.#search);
    this.dialog = dialogOf("threads", texts.threads, texts.close, create("div", { part: "dialog-body" }, search, this.#status, this.#list, this.#paging));
    this.tool = tool("tool threads-open", "clock", texts.threads, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });
    this.#search.addEventListener("input", () => {
      window.clearTimeout(this.#typing);
      this.#typing = window.setTimeout(() => this.#load(1), TYPING);
    });
  }

  #open() {
    this.#search.value = "";
    this.dialog.showModal();
    this.#search.focus();
    void this.#load(1);
  }

  /** @param {number} page */
  async #load(page) {
    window.clearTimeout(this.#typing);
    const request = ++this.#request;
    const query = new URLSearchParams({ q: this.#search.value.trim(), page: String(page) });
    const chat = this.#chat();
    if (chat) query.set("chat", chat);
    this.#status.textContent = texts.loading;
    try {
      const found = await get(`${this.#base()}threads/?${query}`);
      if (request === this.#request) this.#show(found);
    } catch {
      if (request === this.#request) this.#status.textContent = texts.threadsFailed;
    }
  }

  /** @param {{threads: Thread[], page: number, pages: number, count: number}} found */
  #show({ threads, page, pages, count }) {
    this.#page = page;
    this.#list.replaceChildren(...threads.map((thread) => this.#item(thread)));
    this.#status.textContent = count ? texts.threadsFound(count, page, pages) : this.#search.value.trim() ? texts.noThreadFound : texts.noThreads;
    const focused = this.#paging.contains(/** @type {ShadowRoot} */ (this.dialog.getRootNode()).activeElement);
    this.#paging.hidden = pages <= 1;
    this.#earlier.disabled = page <= 1;
    this.#later.disabled = page >= pages;
    if (focused) (this.#later.disabled ? this.#earlier : this.#later).focus();
  }

  /** @param {Thread} thread */
  #item({ id, title, last_seen: seen, started }) {
    const choose = create("button", { type: "button", part: "thread" }, isolated(title || texts.untitled, "thread-title"), timestamp(seen ?? started ?? ""));
    choose.addEventListener("click", () => {
      this.dialog.close();
      this.#choose(id);
    });
    return create("li", {}, choose);
  }
}

/** What was said in a thread before this session, above what is said in it. */
export class Earlier {
  #place;
  #author;
  #list = create("div", { part: "earlier-list" });
  #more = button("more", texts.earlierStill, () => void this.#load());
  /** What is shown, by its thread and session. */
  #shown = "";
  #url = "";
  /** Where the messages that are not here yet end. @type {string | null} */
  #before = null;

  /** @param {HTMLElement} place @param {() => string} author who speaks where a message does not say */
  constructor(place, author) {
    this.#place = place;
    this.#author = author;
    place.append(this.#more, this.#list, create("p", { part: "earlier-note" }, texts.earlier));
  }

  get empty() {
    return this.#place.hidden;
  }

  clear() {
    this.#shown = "";
    this.#place.hidden = true;
    this.#list.replaceChildren();
  }

  /**
   * @param {string} base where `chatsessions.urls` is included
   * @param {string} thread
   * @param {string} session the one that goes on with it: what it has itself is shown below
   */
  async show(base, thread, session) {
    if (this.#shown === `${thread} ${session}`) return;
    this.clear();
    this.#shown = `${thread} ${session}`;
    this.#url = `${base}threads/${encodeURIComponent(thread)}/`;
    this.#before = `${session}:1`;
    await this.#load();
  }

  async #load() {
    const shown = this.#shown;
    try {
      const { messages, before } = await get(`${this.#url}?${new URLSearchParams({ before: this.#before ?? "" })}`);
      if (shown !== this.#shown) return;
      this.#before = before ?? null;
      this.#list.prepend(...messages.map((/** @type {any} */ message) => this.#message(message)));
    } catch {
      if (shown === this.#shown) this.#list.prepend(create("p", { part: "note" }, texts.earlierFailed));
    }
    if (shown !== this.#shown) return;
    this.#more.hidden = this.#before === null;
    this.#place.hidden = !this.#list.childElementCount;
  }

  /** @param {{type?: string, author?: string, content: string, created_at?: string}} message */
  #message({ type, author, content, created_at: time }) {
    if (type === "user_message") return ownArticle(String(content ?? ""), { time });
    return article({ author: author || this.#author() || texts.assistant, text: String(content ?? ""), time });
  }
}
