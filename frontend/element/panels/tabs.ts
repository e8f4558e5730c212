/** Groups of fields, of which one is shown at a time. */
import { create } from "./kit.ts";

export type Group = { label: string; fields: HTMLElement[] };

export class Tabs {
  #tabs: HTMLButtonElement[] = [];
  #panels: HTMLElement[] = [];
  #list = create("div", { part: "tabs", role: "tablist" });
  element = create("div", { part: "tabs-box", hidden: true }, this.#list);

  constructor() {
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
  }

  offer(groups: Group[]) {
    this.#tabs = groups.map(({ label }, index) => {
      const tab = create("button", { type: "button", part: "tab", role: "tab", id: `tab-${index}`, "aria-controls": `tab-panel-${index}` }, label);
      tab.addEventListener("click", () => this.#choose(index));
      return tab;
    });
    this.#panels = groups.map(({ fields }, index) => create("div", { part: "fields", role: "tabpanel", id: `tab-panel-${index}`, "aria-labelledby": `tab-${index}` }, ...fields));
    this.#list.replaceChildren(...this.#tabs);
    this.element.replaceChildren(this.#list, ...this.#panels);
    this.element.hidden = !groups.length;
    this.#choose(0);
  }

  /** Show the group that has `field`. */
  reveal(field: HTMLElement) {
    const index = this.#panels.findIndex((panel) => panel.contains(field));
    if (index >= 0) this.#choose(index);
  }

  #choose(chosen: number) {
    this.#tabs.forEach((tab, index) => {
      tab.setAttribute("aria-selected", String(index === chosen));
      tab.tabIndex = index === chosen ? 0 : -1;
      this.#panels[index]!.hidden = index !== chosen;
    });
  }

  /** By arrow keys, as in any row of tabs. */
  #walk(event: KeyboardEvent) {
    const { length } = this.#tabs;
    const at = this.#tabs.findIndex((tab) => tab === event.target);
    const ahead = getComputedStyle(this.#list).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const back = ahead === "ArrowLeft" ? "ArrowRight" : "ArrowLeft";
    const goals: Record<string, number> = { [ahead]: (at + 1) % length, [back]: (at + length - 1) % length, Home: 0, End: length - 1 };
    const goal = goals[event.key];
    if (at < 0 || goal === undefined) return;
    event.preventDefault();
    this.#choose(goal);
    this.#tabs[goal]?.focus();
  }
}
