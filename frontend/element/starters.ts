/** What a person may begin with: buttons in an empty conversation, each of which sends its message. */
import { create } from "./dom.ts";
import { namedIcon } from "./icons.ts";
import { texts } from "./texts.ts";

export type Starter = { label: string; message: string; icon?: string | null };

export class Starters {
  #send;
  #offered = 0;
  element = create("div", { part: "starters", role: "group", "aria-label": texts.starters, hidden: true });

  constructor(send: (message: string) => void) {
    this.#send = send;
  }

  /** Whether there are some. */
  get any() {
    return this.#offered > 0;
  }

  /** An entry of the log, or nothing. */
  offer(data?: any) {
    const starters: Starter[] = Array.isArray(data?.starters) ? data.starters.filter(isStarter) : [];
    this.#offered = starters.length;
    this.element.replaceChildren(...starters.map((starter) => this.#button(starter)));
  }

  #button({ label, message, icon }: Starter) {
    const element = create("button", { type: "button", part: "starter" }, namedIcon(icon), create("span", {}, label));
    element.addEventListener("click", () => this.#send(message));
    return element;
  }
}

function isStarter(value: any): value is Starter {
  return typeof value?.label === "string" && typeof value?.message === "string";
}
