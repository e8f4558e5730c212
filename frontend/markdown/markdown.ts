/**
 * Messages in Markdown. A page loads this with the first of them.
 *
 * marked reads the text; what it found becomes elements. No HTML is written or read: there is nothing to sanitize.
 */
/// <reference path="../element/css.d.ts" />
import { copyText } from "../element/clipboard.ts";
import { load } from "../element/lazy.ts";
import look from "./markdown.css";
import { LANGUAGES } from "./languages.ts";
import { build, patch } from "./patch.ts";
import { type Block, type Definitions, type Tree, define, parse } from "./tree.ts";

/** What a page says about its Markdown. */
export interface MarkdownOptions {
  /** Hosts of which pictures may be shown, such as `images.example` or `*.example`. */
  imageHosts: string[];
  /** Where `highlight.js` is. */
  highlighter: string;
  /** What the button of a block of code says, before and after. */
  copy: string;
  copied: string;
  /** Say it to who listens. */
  announce: (text: string) => void;
}

/** A block that is on the page, as one node. */
interface Shown extends Block {
  node: ChildNode;
}

interface Highlighter {
  highlight: (code: string, language: string) => Tree[] | null;
}

export const stylesheet = new CSSStyleSheet();
stylesheet.replaceSync(look);

/** Longer code is not coloured, nor are longer lines: that could take seconds. */
const MAX_HIGHLIGHTED = 20_000;
const LONG_LINE = /.{500}/;
/** After a rendering the page has so many times as long for everything else. */
const REST = 3;
/** Milliseconds for which a button says that it has copied. */
const COPIED_FOR = 2000;

let highlighter: Promise<Highlighter> | null = null;

/** A text in Markdown that is shown in an element, and may grow. */
export class MarkdownView {
  #place;
  #options;
  #source = "";
  #shown: Shown[] = [];
  /** How many blocks cannot change any more, how many characters these have, and what they define. */
  #settled = 0;
  #settledLength = 0;
  #definitions: Definitions = {};
  #coloured: WeakSet<Element> = new WeakSet();
  #frame = 0;
  /** When there may be another rendering. */
  #next = 0;

  constructor(place: HTMLElement, options: MarkdownOptions) {
    this.#place = place;
    this.#options = options;
    place.dataset.format = "markdown";
    place.replaceChildren();
    place.addEventListener("click", (event) => this.#clicked(event));
  }

  /** Show a text; one that is `complete` at once, another with the next frame. */
  show(text: string, complete: boolean) {
    const source = text.replace(/\r\n?/g, "\n");
    if (!source.startsWith(this.#source)) this.#begin();
    this.#source = source;
    if (complete) this.#complete();
    else this.#schedule();
  }

  /** Add to a text that is not complete. */
  append(text: string) {
    this.#source += text.replace(/\r\n?/g, "\n");
    this.#schedule();
  }

  #begin() {
    this.#settled = this.#settledLength = 0;
    this.#definitions = {};
  }

  #schedule() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const began = performance.now();
      if (began < this.#next) return this.#schedule();
      this.#render();
      this.#settle();
      this.#next = performance.now() + REST * (performance.now() - began);
    });
  }

  /** The whole text, read again: what comes late may say what a name before it means. */
  #complete() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#begin();
    this.#render();
    for (const shown of this.#shown) this.#finish(shown);
  }

  #render() {
    const blocks = parse(this.#source.slice(this.#settledLength), this.#treeOptions, this.#definitions);
    for (const [index, block] of blocks.entries()) this.#put(this.#settled + index, block);
    for (const { node } of this.#shown.splice(this.#settled + blocks.length)) node.remove();
  }

  #put(index: number, { raw, tree }: Block) {
    const shown = this.#shown[index];
    if (!shown) {
      const node = build(tree);
      this.#place.append(node);
      this.#shown.push({ raw, tree, node });
    } else if (shown.raw !== raw || JSON.stringify(shown.tree) !== JSON.stringify(tree)) {
      Object.assign(shown, { raw, tree, node: patch(shown.node, shown.tree, tree) });
    }
  }

  /** What stands before a line that begins another block cannot change any more. */
  #settle() {
    const open = this.#shown.slice(this.#settled);
    let start = this.#settledLength;
    let [count, length] = [0, 0];
    for (const [index, { raw }] of open.entries()) {
      if (!this.#source.startsWith(raw, start)) break;
      const isBlock = raw.trim() !== "";
      if (isBlock && this.#source.includes("\n", start)) [count, length] = [index, start - this.#settledLength];
      start += raw.length;
    }
    for (const shown of open.slice(0, count)) this.#finish(shown);
    // Not earlier: while a text grows, the end of an address may still be missing.
    this.#definitions = define(this.#source.slice(this.#settledLength, this.#settledLength + length), this.#definitions);
    this.#settled += count;
    this.#settledLength += length;
  }

  #finish({ node }: Shown) {
    if (node instanceof HTMLElement) for (const block of codeBlocks(node)) void this.#colour(block);
  }

  async #colour(block: HTMLElement) {
    const language = block.dataset.language ?? "";
    const code = block.querySelector("pre code");
    const text = code?.textContent ?? "";
    if (!code || this.#coloured.has(code) || !LANGUAGES.has(language) || text.length > MAX_HIGHLIGHTED || LONG_LINE.test(text)) return;
    this.#coloured.add(code);
    try {
      highlighter ??= load(this.#options.highlighter);
      const trees = (await highlighter).highlight(text, language);
      await unselected(code);
      if (trees && code.textContent === text) code.replaceChildren(...trees.map(build));
    } catch {
      highlighter = null; // it is tried again with the next one
    }
  }

  get #treeOptions() {
    const hosts = this.#options.imageHosts;
    const isPicture = ({ host }: URL) => hosts.some((allowed) => host === allowed || (allowed.startsWith("*.") && host.endsWith(allowed.slice(1))));
    return { base: document.baseURI, isPicture, copy: this.#options.copy };
  }

  #clicked(event: Event) {
    const button = event.target instanceof Element ? event.target.closest<HTMLElement>("[part~=code-copy]") : null;
    const code = button?.closest("[part~=code-block]")?.querySelector("pre code");
    if (button && code) void this.#copy(button, code);
  }

  async #copy(button: HTMLElement, code: Element) {
    const { copy, copied, announce } = this.#options;
    if (!(await copyText(code.textContent ?? "", code))) return;
    button.textContent = copied;
    announce(copied);
    setTimeout(() => (button.textContent = copy), COPIED_FOR);
  }
}

function codeBlocks(element: HTMLElement): HTMLElement[] {
  const wanted = "[part~=code-block][data-language]";
  return [...(element.matches(wanted) ? [element] : []), ...element.querySelectorAll<HTMLElement>(wanted)];
}

/** Wait while a reader has selected some of it. */
async function unselected(code: Element) {
  const root = code.getRootNode() as ShadowRoot & { getSelection?: () => Selection | null };
  for (;;) {
    const selection = root.getSelection?.() ?? document.getSelection();
    if (!selection || selection.isCollapsed || !selection.containsNode(code, true)) return;
    await new Promise((changed) => document.addEventListener("selectionchange", changed, { once: true }));
  }
}
