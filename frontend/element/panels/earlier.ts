/** What was said in an earlier conversation that goes on. */
import type { Formatting } from "../formatting.ts";
import { article, button, create, ownArticle, texts } from "./kit.ts";
import { get } from "./server.ts";

/** What was said in a thread before this session, above what is said in it. */
export class Earlier {
  #messages;
  #place;
  #author;
  #formatting;
  #insert;
  #list = create("div", { part: "earlier-list" });
  #status = create("p", { part: "older-status", role: "status" });
  #more = create("div", { part: "older" }, this.#status, button("more", texts.earlierStill, () => void this.#load()));
  /** What is shown, by its thread and session. */
  #shown = "";
  #url = "";
  /** Where the messages that are not here yet end. */
  #before: string | null = null;
  /** The request that is under way. */
  #loading: object | null = null;

  /**
   * @param author who speaks where a message does not say
   * @param insert changes what is above the reader
   */
  constructor(messages: HTMLElement, place: HTMLElement, formatting: Formatting, author: () => string, insert: (change: () => void) => void) {
    this.#messages = messages;
    this.#insert = insert;
    this.#place = place;
    this.#formatting = formatting;
    this.#author = author;
    place.append(this.#more, this.#list, create("p", { part: "earlier-note" }, texts.earlier));
  }

  clear() {
    this.#shown = "";
    this.#loading = null;
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
    if (this.#loading) return;
    const request = (this.#loading = {});
    this.#status.textContent = texts.loading;
    try {
      const { messages, before } = await get(`${this.#url}?${new URLSearchParams({ before: this.#before ?? "" })}`);
      if (request !== this.#loading) return;
      this.#before = before ?? null;
      this.#show(messages.map((message: any) => this.#message(message)));
    } catch {
      if (request === this.#loading) this.#show([], texts.earlierFailed);
    }
  }

  #show(elements: HTMLElement[], failure = "") {
    this.#loading = null;
    this.#insert(() => {
      this.#status.textContent = failure;
      this.#list.prepend(...elements);
      this.#place.hidden = !failure && !this.#list.childElementCount;
      const focused = this.#more.matches(":focus-within");
      this.#more.hidden = this.#before === null;
      if (this.#more.hidden && focused) this.#messages.focus({ preventScroll: true });
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
