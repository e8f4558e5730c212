/** The panels of an element, which are in a file of their own: the first that is needed loads it. */
import { button, create, isolated, tool } from "./dom.ts";
import { save } from "./files.ts";
import { icon, namedIcon } from "./icons.ts";
import { number } from "./language.ts";
import { addressOf, load } from "./lazy.ts";
import { article, ownArticle, timestamp } from "./message.ts";
import type { Panels } from "./panels/panels.ts";
import { Requests } from "./requests.ts";
import { texts } from "./texts.ts";

type Module = typeof import("./panels/panels.ts");
type Task = (panels: Panels) => void;

export class PanelLoader {
  #element;
  #make;
  #failed;
  #loading: Promise<Panels> | null = null;
  /** What is to be done with them, in this order. */
  #tasks: Task[] = [];
  /** Those that are here. */
  loaded: Panels | null = null;

  /** @param failed something waits for them, and they could not be loaded */
  constructor(element: HTMLElement, make: (module: Module) => Panels, failed: () => void) {
    this.#element = element;
    this.#make = make;
    this.#failed = failed;
  }

  /** Do something with them as soon as they are here. */
  use(task: Task) {
    if (this.loaded) return task(this.loaded);
    this.#tasks.push(task);
    this.retry();
  }

  /** Do something with them if they are in use. */
  tell(task: Task) {
    if (this.loaded) task(this.loaded);
    else if (this.#tasks.length) this.#tasks.push(task);
  }

  /** Load them, if something waits for them. */
  retry() {
    if (this.#tasks.length) this.load().catch(this.#failed);
  }

  load(): Promise<Panels> {
    return (this.#loading ??= this.#load().catch((error) => {
      this.#loading = null; // the browser's console says what could not be loaded
      throw error;
    }));
  }

  async #load() {
    const module = await load<Module>(addressOf(this.#element, "panels"));
    module.equip({ Requests, article, button, create, icon, isolated, namedIcon, number, ownArticle, save, texts, timestamp, tool });
    // Behind the element's own sheet, and before that of Markdown.
    this.#element.shadowRoot?.adoptedStyleSheets.splice(1, 0, module.stylesheet);
    this.loaded = this.#make(module);
    for (const task of this.#tasks.splice(0)) task(this.loaded);
    return this.loaded;
  }
}
