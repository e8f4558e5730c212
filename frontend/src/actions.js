/** Buttons that a bot puts under its messages. */
import { create } from "./dom.js";
import { namedIcon } from "./icons.js";

/**
 * @typedef {object} Action
 * @property {string} id
 * @property {string} name which handler it is for
 * @property {any} [payload]
 * @property {string} [label]
 * @property {string} [tooltip]
 * @property {string | null} [icon] the name of one of ours, or a sign to show
 */

/**
 * A button that keeps the focus while it cannot be used.
 * @param {Action} action
 * @param {() => void} pressed
 */
export function actionButton({ id, name, label, tooltip, icon }, pressed) {
  const element = create("button", { type: "button", part: "action", "data-action": id, title: tooltip || null }, namedIcon(icon), label || (icon ? null : name));
  if (!label && icon) element.setAttribute("aria-label", tooltip || name);
  element.addEventListener("click", () => element.getAttribute("aria-disabled") !== "true" && pressed());
  return element;
}

/** All buttons under messages: usable while the line is up, and each once until the server has its press. */
export class Actions {
  /** @type {Map<string, HTMLButtonElement[]>} by the message */
  #buttons = new Map();
  /** @type {Set<string>} ids of those pressed and not yet accepted */
  #pressed = new Set();
  #enabled = false;
  #press;

  /** @param {(data: {id: string, name: string, payload: any}) => void} press */
  constructor(press) {
    this.#press = press;
  }

  /**
   * The buttons of a message, in place of those it had.
   * @param {string} message
   * @param {Action[]} [actions]
   */
  row(message, actions) {
    this.forget(message);
    if (!Array.isArray(actions) || !actions.length) return null;
    const buttons = actions.map((action) => {
      const { id, name, payload } = action;
      return actionButton(action, () => this.#press({ id, name, payload: payload ?? {} }));
    });
    this.#buttons.set(message, buttons);
    for (const button of buttons) this.#refresh(button);
    return create("div", { part: "actions" }, ...buttons);
  }

  /** @param {string} message */
  forget(message) {
    this.#buttons.delete(message);
  }

  clear() {
    this.#buttons.clear();
  }

  /** @param {boolean} enabled whether the line is up @param {Set<string>} pressed ids */
  update(enabled, pressed) {
    const same = enabled === this.#enabled && pressed.size === this.#pressed.size && [...pressed].every((id) => this.#pressed.has(id));
    if (same) return;
    this.#enabled = enabled;
    this.#pressed = pressed;
    for (const buttons of this.#buttons.values()) buttons.forEach((button) => this.#refresh(button));
  }

  /** @param {HTMLButtonElement} button */
  #refresh(button) {
    const usable = this.#enabled && !this.#pressed.has(button.dataset.action ?? "");
    button.setAttribute("aria-disabled", String(!usable));
  }
}
