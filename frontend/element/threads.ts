/** Earlier conversations of who is logged in: a list to choose from, and what was said in one. */
import { button, create, dialogOf, isolated, tool } from "./dom.ts";
import type { Formatting } from "./formatting.ts";
import { article, ownArticle, timestamp } from "./message.ts";
import { texts } from "./texts.ts";

export interface Thread {
  id: string;
  chat?: string;
  title?: string;
  /** In ISO 8601 */
  started?: string;
  last_seen?: string;
}

/** Milliseconds after the last key before a search begins. */
const TYPING = 300;

async function get(url: string): Promise<any> {
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
  #typing: number | undefined;
  dialog: HTMLDialogElement;
  tool = tool("tool threads-open", "clock", texts.threads, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });

  /**
   * @param base where `chatsessions.urls` is included
   * @param chat only the conversations of this one
   */
  constructor(base: () => string | null, chat: () => string | null, choose: (thread: string) => void) {
    this.#base = base;
    this.#chat = chat;
    this.#choose = choose;
    const search = create("div", { part: "field" }, create("label", { part: "field-label", for: "thread-search" }, texts.searchThreads), this.#search);
    this.dialog = dialogOf("threads", texts.threads, texts.close, create("div", { part: "dialog-body" }, search, this.#status, this.#list, this.#paging));
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

  async #load(page: number) {
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

  #show({ threads, page, pages, count }: { threads: Thread[]; page: number; pages: number; count: number }) {
    this.#page = page;
    this.#list.replaceChildren(...threads.map((thread) => this.#item(thread)));
    this.#status.textContent = count ? texts.threadsFound(count, page, pages) : this.#search.value.trim() ? texts.noThreadFound : texts.noThreads;
    const focused = this.#paging.contains((this.dialog.getRootNode() as ShadowRoot).activeElement);
    this.#paging.hidden = pages <= 1;
    this.#earlier.disabled = page <= 1;
    this.#later.disabled = page >= pages;
    if (focused) (this.#later.disabled ? this.#earlier : this.#later).focus();
  }

  #item({ id, title, last_seen: seen, started }: Thread) {
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
  #formatting;
  #insert;
  #list = create("div", { part: "earlier-list" });
  #more = button("more", texts.earlierStill, () => void this.#load());
  /** What is shown, by its thread and session. */
  #shown = "";
  #url = "";
  /** Where the messages that are not here yet end. */
  #before: string | null = null;

  /**
   * @param author who speaks where a message does not say
   * @param insert changes what is above the reader
   */
  constructor(place: HTMLElement, formatting: Formatting, author: () => string, insert: (change: () => void) => void) {
    this.#insert = insert;
    this.#place = place;
    this.#formatting = formatting;
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
   * @param base where `chatsessions.urls` is included
   * @param session the one that goes on with it: what it has itself is shown below
   */
  async show(base: string, thread: string, session: string) {
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
      this.#show(messages.map((message: any) => this.#message(message)));
    } catch {
      if (shown === this.#shown) this.#show([create("p", { part: "note" }, texts.earlierFailed)]);
    }
  }

  #show(elements: HTMLElement[]) {
    this.#insert(() => {
      this.#list.prepend(...elements);
      this.#more.hidden = this.#before === null;
      this.#place.hidden = !this.#list.childElementCount;
    });
  }

  #message({ type, author, content, format, created_at: time }: { type?: string; author?: string; content: string; format?: string; created_at?: string }) {
    const text = String(content ?? "");
    if (type === "user_message") return ownArticle(text, { time });
    const element = article({ author: author || this.#author() || texts.assistant, text, time });
    if (format === "markdown") this.#formatting.show(element.querySelector("[part=content]")!, text);
    return element;
  }
}
