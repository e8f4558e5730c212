/** The choice of a profile, in the conversation's place until it is made. */
import { button, create } from "./dom.ts";
import { texts } from "./texts.ts";

type Chosen = (name: string | undefined) => void;

export class ProfileChoice {
  #place;
  #load;
  #request = 0;

  /** @param load what asks for one, or the name of the only one */
  constructor(place: HTMLElement, load: (chosen: Chosen) => Promise<HTMLElement | string | undefined>) {
    this.#place = place;
    this.#load = load;
  }

  /** Forget a question that is still open. */
  cancel() {
    this.#request += 1;
    this.#place.replaceChildren();
  }

  /** Ask, unless there is nothing to choose. */
  async ask(chosen: Chosen) {
    const request = ++this.#request;
    this.#place.replaceChildren(create("p", { part: "empty" }, texts.loading));
    const content = await this.#load(chosen).catch(() => this.#failed(chosen));
    if (request !== this.#request) return;
    if (typeof content === "object") this.#place.replaceChildren(content);
    else chosen(content);
  }

  #failed(chosen: Chosen) {
    return create("div", { part: "profiles" }, create("p", { role: "alert" }, texts.profilesFailed), button("primary", texts.tryAgain, () => void this.ask(chosen)));
  }
}
