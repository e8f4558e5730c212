/**
 * Texts in Markdown. The first of them loads what shows them; until that is here, and where it cannot be
 * loaded, they are shown as they are written.
 */
import type { MarkdownView } from "../markdown/markdown.ts";
import { addressOf, load } from "./lazy.ts";
import { texts } from "./texts.ts";

type Markdown = typeof import("../markdown/markdown.ts");

/** A text in a place that is made for it. */
interface Formatted {
  text: string;
  complete: boolean;
  view?: MarkdownView;
}

export class Formatting {
  #element;
  #announce;
  #formatted: WeakMap<Element, Formatted> = new WeakMap();
  #loading: Promise<Markdown> | null = null;

  constructor(element: HTMLElement, announce: (text: string) => void) {
    this.#element = element;
    this.#announce = announce;
  }

  /** Show a text in Markdown. @param complete whether it will not grow */
  show(place: HTMLElement, text: string, complete = true) {
    const known = this.#formatted.get(place);
    if (known) Object.assign(known, { text, complete });
    else this.#formatted.set(place, { text, complete });
    const { view } = this.#formatted.get(place)!;
    if (view) return view.show(text, complete);
    place.textContent = text;
    // The browser's console says what could not be loaded.
    if (!known) this.#begin(place).catch(() => (this.#loading = null));
  }

  /** @returns whether the text in this place is in Markdown, and has grown */
  append(place: HTMLElement, text: string): boolean {
    const known = this.#formatted.get(place);
    if (known?.view) known.view.append(text);
    else if (known) place.append(text);
    if (known) known.text += text;
    return Boolean(known);
  }

  async #begin(place: HTMLElement) {
    const { MarkdownView } = await (this.#loading ??= this.#load());
    const formatted = this.#formatted.get(place)!;
    formatted.view = new MarkdownView(place, {
      imageHosts: this.#element.getAttribute("image-hosts")?.split(/[\s,]+/).filter(Boolean) ?? [],
      highlighter: addressOf(this.#element, "highlight"),
      copy: texts.copy,
      copied: texts.copied,
      announce: this.#announce,
    });
    formatted.view.show(formatted.text, formatted.complete);
  }

  async #load(): Promise<Markdown> {
    const module = await load<Markdown>(addressOf(this.#element, "markdown"));
    this.#element.shadowRoot?.adoptedStyleSheets.push(module.stylesheet);
    return module;
  }
}
