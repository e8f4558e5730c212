/** The buttons of messages: Tab goes to those of one message, and arrows lead from message to message. */
const BUTTONS = "[part=copy], [part=thumb]";

export class Roving {
  #list;
  /** The message whose buttons Tab goes to */
  #reached: Element | null = null;

  constructor(list: HTMLElement) {
    this.#list = list;
    list.addEventListener("keydown", (event) => this.#move(event));
  }

  /** Messages have come: Tab goes to the last one. */
  refresh() {
    const buttons = this.#list.lastElementChild?.querySelectorAll("[part=copy]");
    if (buttons?.length) this.#reach(buttons[buttons.length - 1]!.closest("article"));
  }

  #reach(message: Element | null) {
    if (message === this.#reached) return;
    for (const [one, index] of [[this.#reached, -1], [message, 0]] as const) {
      one?.querySelectorAll<HTMLElement>(BUTTONS).forEach((button) => (button.tabIndex = index));
    }
    this.#reached = message;
  }

  #move(event: KeyboardEvent) {
    const button = event.target as HTMLElement;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!step || !button.matches(BUTTONS)) return;
    event.preventDefault(); // it does not scroll
    const { thumb } = button.dataset;
    const alike = [...this.#list.querySelectorAll<HTMLElement>(thumb ? `[data-thumb=${thumb}]` : "[part=copy]")];
    const next = alike[alike.indexOf(button) + step];
    if (!next) return;
    this.#reach(next.closest("article"));
    next.focus();
  }
}
