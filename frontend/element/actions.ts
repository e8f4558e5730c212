/** Buttons that a bot puts under its messages. */
import { create } from "./dom.ts";
import { namedIcon } from "./icons.ts";

export interface Action {
  id: string;
  /** Which handler it is for */
  name: string;
  payload?: any;
  label?: string;
  tooltip?: string;
  /** The name of one of ours, or a sign to show */
  icon?: string | null;
}

/** A button that keeps the focus while it cannot be used. */
export function actionButton({ id, name, label, tooltip, icon }: Action, pressed: () => void) {
  const element = create("button", { type: "button", part: "action", "data-action": id, title: tooltip || null }, namedIcon(icon), label || (icon ? null : name));
  if (!label && icon) element.setAttribute("aria-label", tooltip || name);
  element.addEventListener("click", () => element.getAttribute("aria-disabled") !== "true" && pressed());
  return element;
}

/** All buttons under messages: usable while the line is up, and each once until the server has its press. */
export class Actions {
  /** By the message */
  #buttons: Map<string, HTMLButtonElement[]> = new Map();
  /** Ids of those pressed and not yet accepted */
  #pressed: Set<string> = new Set();
  #enabled = false;
  #press;

  constructor(press: (data: { id: string; name: string; payload: any }) => void) {
    this.#press = press;
  }

  /** The buttons of a message, in place of those it had. */
  row(message: string, actions?: Action[]) {
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

  forget(message: string) {
    this.#buttons.delete(message);
  }

  clear() {
    this.#buttons.clear();
  }

  /** @param enabled whether the line is up @param pressed ids */
  update(enabled: boolean, pressed: Set<string>) {
    const same = enabled === this.#enabled && pressed.size === this.#pressed.size && [...pressed].every((id) => this.#pressed.has(id));
    if (same) return;
    this.#enabled = enabled;
    this.#pressed = pressed;
    for (const buttons of this.#buttons.values()) buttons.forEach((button) => this.#refresh(button));
  }

  #refresh(button: HTMLButtonElement) {
    const usable = this.#enabled && !this.#pressed.has(button.dataset.action ?? "");
    button.setAttribute("aria-disabled", String(!usable));
  }
}
