/** What a person may begin with: buttons in an empty conversation, each of which sends its message. */
import { create } from "./dom.js";
import { namedIcon } from "./icons.js";
import { texts } from "./texts.js";

/** @typedef {{label: string, message: string, icon?: string | null}} Starter */

export class Starters {
  #send;
  #offered = 0;
  element = create("div", { part: "starters", role: "group", "aria-label": texts.starters, hidden: true });

  /** @param {(message: string) => void} send */
  constructor(send) {
    this.#send = send;
  }

  /** Whether there are some. */
  get any() {
    return this.#offered > 0;
  }

  /** An entry of the log, or nothing. @param {any} [data] */
  offer(data) {
    /** @type {Starter[]} */
    const starters = Array.isArray(data?.starters) ? data.starters.filter(isStarter) : [];
    this.#offered = starters.length;
    this.element.replaceChildren(...starters.map((starter) => this.#button(starter)));
  }

  /** @param {Starter} starter */
  #button({ label, message, icon }) {
    const element = create("button", { type: "button", part: "starter" }, namedIcon(icon), create("span", {}, label));
    element.addEventListener("click", () => this.#send(message));
    return element;
  }
}

/** @param {any} value @returns {value is Starter} */
function isStarter(value) {
  return typeof value?.label === "string" && typeof value?.message === "string";
}
