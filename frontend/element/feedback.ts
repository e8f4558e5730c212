/** Thumbs under the answers of a chat that asks for them. */
import { create } from "./dom.ts";
import { icon } from "./icons.ts";
import { texts } from "./texts.ts";

export type Thumb = "up" | "down";

export class Feedback {
  /** What was given, by the message */
  #given: Map<string, Thumb | null> = new Map();
  #rows: Map<string, HTMLButtonElement[]> = new Map();
  #give;

  /** @param give tells the server; false if that cannot be */
  constructor(give: (message: string, value: Thumb | null) => boolean) {
    this.#give = give;
  }

  /** The thumbs of a message, in place of those it had. */
  row(message: string) {
    const buttons = (["up", "down"] as const).map((value) => {
      const label = texts.thumbs[value];
      const button = create("button", { type: "button", part: "thumb", "data-thumb": value, "aria-label": label, title: label }, icon(`thumbs-${value}`));
      button.addEventListener("click", () => {
        const given = this.#given.get(message) === value ? null : value;
        if (this.#give(message, given)) this.put({ message, value: given });
      });
      return button;
    });
    this.#rows.set(message, buttons);
    this.#refresh(message);
    return create("div", { part: "actions" }, ...buttons);
  }

  /** @param data of a `feedback` event: the last one on a message counts */
  put(data: any) {
    this.#given.set(String(data?.message), data?.value ?? null);
    this.#refresh(String(data?.message));
  }

  clear() {
    this.#given.clear();
    this.#rows.clear();
  }

  #refresh(message: string) {
    for (const button of this.#rows.get(message) ?? []) button.setAttribute("aria-pressed", String(button.dataset.thumb === this.#given.get(message)));
  }
}
