/** Earlier conversations of who is logged in: a list to choose from, in a panel at the side. */
import { dialogOf } from "./dialog.ts";
import { button, create, isolated, texts, timestamp, tool } from "./kit.ts";
import { get } from "./server.ts";

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

  /** Somebody else may be here: what was listed is not theirs, nor what is still to come. */
  clear() {
    window.clearTimeout(this.#typing);
    this.#request++;
    this.#search.value = "";
    this.#list.replaceChildren();
    this.#paging.hidden = true;
    this.dialog.close();
  }

  #open() {
    this.clear();
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
