/** Thumbs under the answers of a chat that asks for them, and the words that a user adds. */
import { create } from "./dom.ts";
import { icon } from "./icons.ts";
import type { PanelLoader } from "./panel-loader.ts";
import { texts } from "./texts.ts";

/** Null takes it back. */
export type Given = { value: "up" | "down" | null; comment?: string };

export class Feedback {
  /** What was given, by the message */
  #given: Map<string, Given> = new Map();
  /** Rows of thumbs, by the message */
  #rows: Map<string, HTMLElement> = new Map();
  #give;
  #use;

  /** @param give tells the server; false if that cannot be */
  constructor(give: (data: Given & { message: string }) => boolean, use: PanelLoader["use"]) {
    this.#give = give;
    this.#use = use;
  }

  /** The thumbs of a message. It keeps them when it is changed, with a comment that is being written. */
  row(message: string) {
    const row = this.#rows.get(message) ?? this.#made(message);
    // Another element has them now, which Tab does not go to yet.
    for (const thumb of thumbs(row)) thumb.tabIndex = -1;
    return row;
  }

  #made(message: string) {
    const buttons = (["up", "down"] as const).map((value) => {
      const label = texts.thumbs[value];
      const button = create("button", { type: "button", part: "thumb", "data-thumb": value, "aria-label": label, title: label }, icon(`thumbs-${value}`));
      button.addEventListener("click", () => {
        const { value: before, comment } = this.#given.get(message) ?? {};
        // What was said goes along with another thumb, and goes with the thumb.
        const given = { message, ...(before === value ? { value: null } : { value, comment }) };
        if (!this.#rate(given)) return;
        this.#use(({ commentForm }) => commentForm(row, button, given.value && ((comment) => this.#rate({ message, value, comment })), comment));
      });
      return button;
    });
    const row = create("div", { part: "actions" }, ...buttons);
    this.#rows.set(message, row);
    this.#refresh(message);
    return row;
  }

  #rate(data: Given & { message: string }) {
    const can = this.#give(data);
    if (can) this.put(data);
    return can;
  }

  /** @param data of a `feedback` event: the last one on a message counts */
  put(data: any) {
    this.#given.set(String(data?.message), { value: data?.value ?? null, comment: data?.comment });
    this.#refresh(String(data?.message));
  }

  clear() {
    this.#given.clear();
    this.#rows.clear();
  }

  #refresh(message: string) {
    const row = this.#rows.get(message);
    for (const thumb of row ? thumbs(row) : []) thumb.setAttribute("aria-pressed", String(thumb.dataset.thumb === this.#given.get(message)?.value));
  }
}

function thumbs(row: HTMLElement) {
  return row.querySelectorAll<HTMLElement>("[part=thumb]");
}
