/** How much the bot has said that was not seen: the page was hidden, or the element was. */
import type { ChatClient } from "../client/client.ts";

export class Unread {
  #element;
  #client;
  #told;
  /** Whether the element has a size. */
  #shown = false;
  /** The number of the last message in the log. */
  #last = 0;
  /** That of the last one that was seen; null while it is not known. */
  #read: number | null = null;
  #count = 0;
  #resized = new ResizeObserver(([entry]) => {
    const { inlineSize = 0 } = entry?.borderBoxSize[0] ?? {};
    if (this.#shown === inlineSize > 0) return;
    if (this.#seen) this.#remember();
    this.#shown = inlineSize > 0;
    this.#look();
  });

  /** @param told of another count */
  constructor(element: HTMLElement, client: () => ChatClient | null, told: (count: number) => void) {
    this.#element = element;
    this.#client = client;
    this.#told = told;
  }

  observe() {
    this.#resized.observe(this.#element);
    document.addEventListener("visibilitychange", this.#turned);
  }

  disconnect() {
    this.#resized.disconnect();
    document.removeEventListener("visibilitychange", this.#turned);
    this.#set(0);
  }

  /** Another log, or a later part of it, follows. */
  clear() {
    this.#last = 0;
    this.#read = null;
    this.#set(0);
  }

  /** The bot has said something. @param seq its number in the log */
  came(seq: number) {
    this.#last = seq;
    if (this.#seen) return;
    this.#read ??= this.#recalled();
    if (seq > this.#read) this.#set(this.#count + 1);
  }

  get #seen() {
    return this.#shown && !document.hidden;
  }

  #turned = () => {
    if (document.hidden && this.#shown) this.#remember();
    this.#look();
    markTitle();
  };

  #look() {
    if (!this.#seen) return;
    this.#read = this.#last;
    this.#set(0);
  }

  #set(count: number) {
    if (count === this.#count) return;
    this.#count = count;
    if (count) counts.set(this, count);
    else counts.delete(this);
    markTitle();
    this.#told(count);
  }

  /** Until here it was seen: also for the next page of this tab. */
  #remember() {
    const { session, storage } = this.#client() ?? {};
    this.#read = this.#last;
    if (session) storage?.keep("read", { session, seq: this.#last });
  }

  #recalled(): number {
    const { session, storage } = this.#client() ?? {};
    const before = storage?.recall("read");
    return session && before?.session === session ? Number(before.seq) : 0;
  }
}

/** Of all elements of the page that have some. */
const counts: Map<Unread, number> = new Map();
/** The page's title as it was left here, and without what was added to it. */
let marked = document.title;
let title = marked;

/** `(2) Title`, while the page is hidden. */
function markTitle() {
  const unread = document.hidden ? [...counts.values()].reduce((sum, count) => sum + count, 0) : 0;
  if (document.title !== marked) title = document.title; // the page has given itself another
  marked = unread ? `(${unread}) ${title}` : title;
  if (document.title !== marked) document.title = marked;
}
