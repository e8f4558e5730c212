/** The user's last message, sent again: as it was, or changed. */
import type { Entry } from "../client/client.ts";
import { button, create } from "./dom.ts";
import { icon } from "./icons.ts";
import { texts } from "./texts.ts";

/** A message that another one is to take the place of. */
export type Replaced = { n: number; text: string; files: string[] };

/** The buttons below the user's last message. */
export class Resending {
  #last: (Replaced & { seq: number }) | null = null;
  #row = create("div", { part: "actions" });

  /** @param edit let a person change it; @param again send it as it was */
  constructor(edit: (replaced: Replaced) => void, again: (replaced: Replaced) => void) {
    const change = button("edit", "", () => this.#last && edit(this.#last), { "aria-label": texts.edit, title: texts.edit });
    const repeat = button("again", "", () => this.#last && again(this.#last), { "aria-label": texts.tryAgain, title: texts.tryAgain });
    change.append(icon("pencil"));
    repeat.append(icon("refresh"));
    this.#row.append(change, repeat);
  }

  /** The number of the last message, and where in the log it is. */
  get last(): { n: number; seq: number } | null {
    return this.#last;
  }

  /** @param offered whether it can be sent again */
  set offered(offered: boolean) {
    this.#row.hidden = !offered;
  }

  /** @param entry a message of the user; earlier ones may come later */
  take({ seq, data }: Entry, n: number) {
    if (n < (this.#last?.n ?? 0)) return;
    this.#last = { n, seq, text: data.content, files: Array.isArray(data.files) ? data.files : [] };
  }

  /** Stand below the last message. @param own what is shown, by the number */
  attach(own: Map<number, HTMLElement>) {
    if (this.#last) own.get(this.#last.n)?.append(this.#row);
  }

  clear() {
    this.#last = null;
  }
}

/** What messages have taken the place of: it is in the log, and no part of the conversation. */
export class Branches {
  /** Numbers and turns from one up to another; `from` and `to` are the entries, for what came outside of turns. */
  #dropped: { n: number; end: number; from: number | undefined; to: number }[] = [];

  /** @param entry a message of the user @param last the one before it. @returns whether something is dropped by it */
  take({ seq, data }: Entry, n: number, last: { n: number; seq: number } | null): boolean {
    // The replaced message itself, from the beginning of a long conversation.
    const early = this.#dropped.find((one) => one.n === n && one.from === undefined);
    if (early) early.from = seq;
    const replaced = data.replaces;
    if (typeof replaced === "number") this.#dropped.push({ n: replaced, end: n, from: last?.n === replaced ? last.seq : undefined, to: seq });
    return early !== undefined || typeof replaced === "number";
  }

  drops({ n, turn, seq }: Entry): boolean {
    const number = n ?? turn;
    return this.#dropped.some((one) => (number != null ? one.n <= number && number < one.end : one.from !== undefined && one.from <= seq && seq < one.to));
  }

  clear() {
    this.#dropped = [];
  }
}
