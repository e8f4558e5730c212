/** What Markdown means, as a tree of elements and texts. Pure: there is no page here, and no HTML. */
import { Lexer, type Token, Tokenizer, type Tokens } from "marked";
import { decoded } from "./entities.ts";

/** An element that is to be, or a text. */
export type Tree = Branch | string;
export interface Branch {
  tag: "a" | "blockquote" | "br" | "button" | "code" | "del" | "div" | "em" | "h3" | "h4" | "h5" | "h6" | "hr" | "img" | "li" | "ol" | "p" | "pre" | "span" | "strong" | "table" | "tbody" | "td" | "th" | "thead" | "tr" | "ul";
  attributes?: Record<string, string>;
  children?: Tree[];
}

/** A block of the text: what it is made from, and of what. */
export interface Block {
  raw: string;
  tree: Tree;
}

export interface TreeOptions {
  /** What addresses are relative to. */
  base: string;
  /** Whether a picture may be fetched from there. */
  isPicture: (url: URL) => boolean;
  /** What the button of a block of code says. */
  copy: string;
}

/** Where links may lead. */
const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
/** Deeper quotes and lists are shown as they are written. */
const MAX_DEPTH = 20;
/** So is a paragraph of more characters, whose parsing could take seconds. */
const MAX_INLINE = 20_000;
/** And a table of more cells, or columns. */
const MAX_CELLS = 10_000;
const MAX_COLUMNS = 100;
/** Elements of one message; what comes after them is shown as it is written. */
const MAX_ELEMENTS = 20_000;
/** Characters of one message that are read again, because of what comes after them; what comes then is shown as it is written. */
const MAX_AGAIN = 20_000_000;

/** What tells how a cell is aligned. */
const ALIGNED = { left: {}, center: { part: "align-center" }, right: { part: "align-right" } };

/** marked's tokenizer, bounded: some texts it would read again for each of their words or lines. */
class BoundedTokenizer extends Tokenizer {
  /** How many characters may still be read again. */
  #left = MAX_AGAIN;

  override blockquote(src: string) {
    const [quote] = this.rules.block.blockquote.exec(src) ?? [""];
    // Behind each line without a mark, the rest of the quote is read again.
    this.#left -= quote.length * (quote.match(/\n(?! {0,3}>).*\n(?= {0,3}>)/g) ?? []).length;
    return quote && this.#left < 0 ? (written(quote) as Token as Tokens.Blockquote) : super.blockquote(src);
  }

  override list(src: string) {
    if (!this.rules.block.list.test(src)) return undefined;
    const end = src.search(/\n[ \t]*\n(?!\s|[*+-]\s|\d+[.)]\s)/);
    const list = end < 0 ? src : src.slice(0, end);
    // With each line of a paragraph in an item, the paragraph is read again.
    for (const lines of list.split(/\n\s*(?:\n|(?=[*+-]\s|\d+[.)]\s))/)) this.#left -= lines.length * lines.split("\n").length;
    return this.#left < 0 ? (written(list) as Token as Tokens.List) : super.list(src);
  }

  /** The first that is asked what a text begins with. */
  override escape(src: string) {
    return this.#left < 0 ? written(src) : super.escape(src);
  }

  override emStrong(src: string, masked: string, before?: string) {
    if (/^[*_]/.test(src)) this.#left -= src.length;
    return super.emStrong(src, masked, before);
  }

  override url(src: string) {
    this.#left -= /^[\w.+-]*/.exec(src)![0].length; // it may be an address of mail
    return super.url(src);
  }
}

/** marked's lexer, bounded. */
class BoundedLexer extends Lexer {
  #depth = 0;

  constructor(definitions: Definitions) {
    super({ gfm: true, tokenizer: new BoundedTokenizer() });
    Object.assign(this.tokens.links, definitions);
  }

  override blockTokens(src: string, tokens: Token[] = [], lastParagraphClipped?: boolean): any {
    if (this.#depth > MAX_DEPTH) {
      tokens.push(written(src));
      return tokens;
    }
    this.#depth += 1;
    try {
      return super.blockTokens(src, tokens, lastParagraphClipped);
    } finally {
      this.#depth -= 1;
    }
  }

  override inlineTokens(src: string, tokens: Token[] = []): Token[] {
    if (src.length <= MAX_INLINE && this.#depth <= 2 * MAX_DEPTH) {
      this.#depth += 1;
      try {
        return super.inlineTokens(src, tokens);
      } finally {
        this.#depth -= 1;
      }
    }
    tokens.push(written(src));
    return tokens;
  }
}

/** A text that is not looked into. */
function written(src: string): Tokens.Escape {
  return { type: "escape", raw: src, text: src };
}

/** References that a text defines, by their names. */
export type Definitions = Lexer["tokens"]["links"];

/** @param definitions of what comes before a text @returns them, and those of the text itself, which is complete */
export function define(source: string, definitions: Definitions): Definitions {
  const lexer = new BoundedLexer(definitions);
  if (source.includes("]:")) lexer.blockTokens(source);
  return lexer.tokens.links;
}

/**
 * The blocks of a text.
 * @param definitions of what comes before it
 */
export function parse(source: string, options: TreeOptions, definitions: Definitions): Block[] {
  const tokens = new BoundedLexer(definitions).lex(source);
  const trees = new Trees(options);
  const blocks: Block[] = [];
  for (const [index, token] of tokens.entries()) {
    if (trees.full) {
      const raw = tokens.slice(index).map((rest) => rest.raw).join("");
      blocks.push({ raw, tree: asWritten(raw) });
      break;
    }
    blocks.push({ raw: token.raw, tree: trees.block(token) });
  }
  return blocks;
}

function asWritten(raw: string): Branch {
  return { tag: "p", attributes: { part: "written" }, children: [raw.replace(/\n+$/, "")] };
}

/** Makes trees of marked's tokens. */
class Trees {
  #options;
  #elements = 0;
  /** Whether what is made is inside of a link, where there is no other. */
  #linked = false;

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  get full() {
    return this.#elements > MAX_ELEMENTS;
  }

  block(token: Token): Tree {
    if (this.full) return asWritten(token.raw);
    switch (token.type) {
      case "space":
      case "def":
        return "";
      case "heading":
        return this.#element(`h${Math.min(token.depth + 2, 6)}` as "h3", this.#inline(token.tokens));
      case "paragraph":
        return this.#element("p", this.#inline(token.tokens));
      case "blockquote":
        return this.#element("blockquote", this.#blocks(token.tokens));
      case "hr":
        return this.#element("hr");
      case "code":
        return this.#code(token as Tokens.Code);
      case "list":
        return this.#list(token as Tokens.List);
      case "table":
        return this.#table(token as Tokens.Table);
      case "text":
        return token.tokens ? this.#element("p", this.#inline(token.tokens)) : this.#element("p", [decoded(token.raw)]);
      default:
        // HTML, which is text; and what is not known.
        return asWritten(token.raw);
    }
  }

  #blocks(tokens: Token[] = []): Tree[] {
    return tokens.map((token) => this.block(token)).filter((tree) => tree !== "");
  }

  #list({ ordered, start, items }: Tokens.List): Tree {
    const children: Tree[] = [];
    for (const [index, item] of items.entries()) {
      if (this.full) {
        children.push({ tag: "li", attributes: { part: "written" }, children: [items.slice(index).map(({ raw }) => raw).join("")] });
        break;
      }
      children.push(this.#item(item));
    }
    if (!ordered) return this.#element("ul", children);
    return this.#element("ol", children, start === "" || start === 1 ? {} : { start: `${start}` });
  }

  #item({ task, checked, tokens, loose }: Tokens.ListItem): Tree {
    const children = tokens.flatMap((token): Tree[] => {
      if (token.type === "checkbox") return [];
      if (token.type === "text" && !loose) return this.#inline(token.tokens ?? [token]);
      const tree = this.block(token);
      return tree === "" ? [] : [tree];
    });
    if (!task) return this.#element("li", children);
    const mark = this.#element("span", [checked ? "☑ " : "☐ "], { part: "task" });
    const [first] = children;
    // In front of the words, and not above them.
    if (typeof first === "object" && first.tag === "p") first.children?.unshift(mark);
    else children.unshift(mark);
    return this.#element("li", children, { part: "task-item" });
  }

  #table({ header, rows, align, raw }: Tokens.Table): Tree {
    const columns = header.length;
    if (columns > MAX_COLUMNS || columns * rows.length > MAX_CELLS) return asWritten(raw);
    const row = (cells: Tokens.TableCell[], tag: "th" | "td") =>
      this.#element("tr", cells.map(({ tokens }, index) => this.#element(tag, this.#inline(tokens), ALIGNED[align[index] ?? "left"])));
    const head = this.#element("thead", [row(header, "th")]);
    const body = rows.length ? [this.#element("tbody", rows.map((cells) => row(cells, "td")))] : [];
    // It scrolls by itself, by the keyboard too.
    return this.#element("div", [this.#element("table", [head, ...body])], { part: "table", tabindex: "0" });
  }

  #code({ text, lang }: Tokens.Code): Tree {
    const language = decoded(lang ?? "").match(/^\S{1,40}/)?.[0] ?? "";
    const copy = this.#element("button", [this.#options.copy], { part: "code-copy", type: "button" });
    const head = this.#element("div", [this.#element("span", [language], { part: "code-language" }), copy], { part: "code-header" });
    const code = this.#element("pre", [this.#element("code", [text])], { tabindex: "0" });
    return this.#element("div", [head, code], { part: "code-block", ...(language ? { "data-language": language.toLowerCase() } : {}) });
  }

  #inline(tokens: Token[] = []): Tree[] {
    return tokens.flatMap((token) => this.#span(token));
  }

  #span(token: Token): Tree[] {
    if (this.full) return [token.raw];
    switch (token.type) {
      case "escape":
        return [token.text];
      case "checkbox": // the item has it
        return [];
      case "text":
        return token.tokens ? this.#inline(token.tokens) : [decoded(token.text)];
      case "strong":
      case "em":
      case "del":
        return [this.#element(token.type, this.#inline(token.tokens))];
      case "codespan":
        return [this.#element("code", [token.text])];
      case "br":
        return [this.#element("br")];
      case "link":
        return this.#link(token as Tokens.Link);
      case "image":
        return this.#image(token as Tokens.Image);
      default:
        return [token.raw];
    }
  }

  #link({ href, title, tokens, raw }: Tokens.Link): Tree[] {
    const url = this.#address(href);
    if (!url) return [raw];
    if (this.#linked) return this.#inline(tokens);
    this.#linked = true;
    const children = this.#inline(tokens);
    this.#linked = false;
    return [this.#leading(url, children, title)];
  }

  /** A picture, if its host may be asked for it; a link to it, if not. */
  #image({ href, title, tokens, raw }: Tokens.Image): Tree[] {
    const url = this.#address(href);
    if (!url) return [raw];
    const words = textOf(this.#inline(tokens));
    if (url.protocol !== "mailto:" && this.#options.isPicture(url)) {
      return [this.#element("img", [], { src: url.href, alt: words, loading: "lazy", referrerpolicy: "no-referrer", ...(title ? { title: decoded(title) } : {}) })];
    }
    const children = [words || url.href];
    return this.#linked ? children : [this.#leading(url, children, title)];
  }

  #leading(url: URL, children: Tree[], title?: string | null): Tree {
    return this.#element("a", children, { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", ...(title ? { title: decoded(title) } : {}) });
  }

  #address(href: string): URL | null {
    try {
      // A backslash is a character of a path, not the slash that URL takes it for.
      const url = new URL(decoded(href).replaceAll("\\", "%5C"), this.#options.base);
      return PROTOCOLS.has(url.protocol) ? url : null;
    } catch {
      return null;
    }
  }

  #element(tag: Branch["tag"], children: Tree[] = [], attributes?: Record<string, string>): Branch {
    this.#elements += 1;
    return { tag, ...(attributes && Object.keys(attributes).length ? { attributes } : {}), ...(children.length ? { children: joined(children) } : {}) };
  }
}

/** What a picture is said to show: the text without its elements. */
function textOf(trees: Tree[]): string {
  return trees.map((tree) => (typeof tree === "string" ? tree : (tree.attributes?.alt ?? textOf(tree.children ?? [])))).join("");
}

/** Texts beside each other are one. */
function joined(trees: Tree[]): Tree[] {
  const found: Tree[] = [];
  for (const tree of trees) {
    const last = found.length - 1;
    if (typeof tree === "string" && typeof found[last] === "string") found[last] += tree;
    else found.push(tree);
  }
  return found;
}
