/** What was said in an earlier conversation that goes on. */
import type { Formatting } from "../formatting.ts";
import { article, button, create, ownArticle, texts } from "./kit.ts";
import { get } from "./server.ts";

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
