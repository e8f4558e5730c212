/** The beginning of a long conversation: it comes by HTTP when the reader scrolls up, or asks for it. */
import type { ChatClient, Entry } from "../../client/client.ts";
import { Requests, button, create, texts } from "./kit.ts";

/** Entries in one answer. */
const PAGE = 200;
/** How far from what is here a reader is when more is fetched. */
const AHEAD = "800px 0px 0px";

export class Older {
  #show;
  #messages;
  #more = button("more", texts.earlierStill, () => void this.#load());
  #status = create("p", { part: "older-status", role: "status" });
  #element = create("div", { part: "older", hidden: true }, this.#status, this.#more);
  #near: IntersectionObserver;
  #client: ChatClient | null = null;
  #base = "";
  /** The entry before which all is still to come. */
  #before: number | null = null;
  #loading = false;
  /** Whether to wait until the reader asks, or the line is back */
  #resting = true;

  /**
   * @param list above which it stands
   * @param show entries, oldest first, and whether there are earlier ones
   */
  constructor(messages: HTMLElement, list: HTMLElement, show: (entries: Entry[], more: boolean) => void) {
    this.#messages = messages;
    this.#show = show;
    list.before(this.#element);
    this.#near = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && !this.#resting && void this.#load(), { root: messages, rootMargin: AHEAD });
  }

  /** @param before the first entry that is here */
  begin(base: string, client: ChatClient, before: number) {
    this.#base = base;
    this.#client = client;
    this.#before = before;
    this.#element.hidden = false;
    client.addEventListener("ready", this.arrived);
  }

  clear() {
    this.disconnect();
    this.#client?.removeEventListener("ready", this.arrived);
    this.#client = this.#before = null;
    this.#loading = false;
    this.#resting = true;
    this.#element.hidden = true;
    this.#status.textContent = "";
  }

  /** Fetch more when the reader comes near. */
  observe() {
    this.disconnect();
    if (this.#before !== null) this.#near.observe(this.#element);
  }

  disconnect() {
    this.#near.disconnect();
  }

  /** The end of the conversation is here, or the line is back. */
  arrived = () => {
    this.#resting = false;
    this.observe();
  };

  async #load() {
    const before = this.#before;
    const client = this.#client;
    if (before === null || !client || this.#loading) return;
    this.#loading = true;
    this.#status.textContent = texts.loading;
    const current = () => before === this.#before && client === this.#client;
    try {
      const found = await this.#fetch(client, before);
      if (!current()) return;
      this.#resting = false;
      this.#status.textContent = "";
      this.#before = found.before;
      this.#hide(found.before === null);
      this.#show(found.entries, found.before !== null);
    } catch {
      if (!current()) return;
      this.#resting = true;
      this.#status.textContent = texts.earlierFailed;
    } finally {
      if (client === this.#client) {
        this.#loading = false;
        this.observe(); // it may still be near
      }
    }
  }

  async #fetch(client: ChatClient, before: number): Promise<{ entries: Entry[]; before: number | null }> {
    const requests = new Requests(this.#base, client, XMLHttpRequest);
    const answer = await requests.twice(() => fetch(requests.url(`entries/?before=${before}&limit=${PAGE}`), { headers: requests.credentials, cache: "no-store" }));
    if (!answer.ok) throw new Error(String(answer.status));
    return answer.json();
  }

  /** @param hidden whether everything is here */
  #hide(hidden: boolean) {
    const focused = this.#element.contains((this.#element.getRootNode() as ShadowRoot).activeElement);
    this.#element.hidden = hidden;
    if (hidden && focused) this.#messages.focus({ preventScroll: true });
  }
}
