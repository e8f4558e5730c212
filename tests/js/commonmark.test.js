/** The examples of CommonMark's specification, each as the element shows it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decoded } from "../../frontend/markdown/entities.ts";
import { parse } from "../../frontend/markdown/tree.ts";

const SPEC = readFileSync("frontend/node_modules/commonmark-spec/spec.txt", "utf8");
const EXAMPLE = /^`{32} example\n([\s\S]*?)^\.\n([\s\S]*?)^`{32}$|^#{1,6} (.*)$/gm;

const options = { base: "https://page.example/", isPicture: () => true, copy: "Copy" };

/** A tree in the words of the specification. */
function html(tree) {
  if (typeof tree === "string") return escaped(tree);
  const { tag, attributes = {}, children = [] } = tree;
  const inner = children.map(html).join("");
  if (attributes.part === "code-block") {
    const [, pre] = children;
    return `<pre><code>${html(pre.children[0].children?.[0] ?? "").trimEnd()}</code></pre>`;
  }
  const { href, src, title, alt, start } = attributes;
  const told = Object.entries({ href, src, alt, title, start }).filter(([, value]) => value !== undefined);
  return `<${tag}${told.map(([name, value]) => ` ${name}="${escaped(value)}"`).join("")}>${["br", "hr", "img"].includes(tag) ? "" : `${inner}</${tag}>`}`;
}

function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}

/** The page has headings of its own above those of a message; addresses are whole; a block of code names its language above it. */
function ofOurs(expected) {
  return expected
    .replace(/<(\/?)h([1-6])>/g, (_, end, level) => `<${end}h${Math.min(Number(level) + 2, 6)}>`)
    .replace(/<pre><code[^>]*>([\s\S]*?)<\/code><\/pre>/g, (_, code) => `<pre><code>${code.trimEnd()}</code></pre>`)
    .replace(/ (href|src)="([^"]*)"/g, (_, name, address) => ` ${name}="${escaped(whole(decoded(address)))}"`);
}

function whole(address) {
  return URL.canParse(address, options.base) ? new URL(address.replace(/%5B/g, "[").replace(/%5D/g, "]"), options.base).href : address;
}

/** Only what can be seen: no line ends between blocks, and no spaces beside one. */
function seen(markup) {
  return markup
    .replace(/ \/>/g, ">")
    .split(/(<pre>[\s\S]*?<\/pre>)/)
    .map((part) => (part.startsWith("<pre>") ? part : part.replace(/\s*(<\/?(?:p|ul|ol|li|blockquote|h\d|hr|br)(?: [^>]*)?>)\s*/g, "$1").replace(/ *\n */g, "\n")))
    .join("")
    .trim();
}

/** What is otherwise on purpose, by the examples' numbers. */
const OTHERWISE = {
  "only characters of HTML 4 have names": [25],
  "only http, https and mailto are links": [596, 598, 599, 601],
  "an address is a link without brackets, too, as on GitHub": [602, 608, 611, 612],
  "markup is text": [21, 31, 344, 475, 476, 477, 642, 643],
};
const MARKUP = /<(?!\/?(?:p|ul|ol|li|blockquote|h[1-6]|hr|br|em|strong|code|pre|a|img)\b[^>]*>)/;

/** Why an example is not to be as in the specification, if so. */
function reason(section, number, expected) {
  if (/HTML/.test(section) || MARKUP.test(expected)) return "markup is text";
  return Object.keys(OTHERWISE).find((why) => OTHERWISE[why].includes(number)) ?? false;
}

let section = "";
let number = 0;
for (const [, source, expected, heading] of SPEC.replace(/→/g, "\t").matchAll(EXAMPLE)) {
  if (heading !== undefined) {
    section = heading;
    continue;
  }
  number += 1;
  test(`${section}, example ${number}`, { skip: reason(section, number, expected) }, () => {
    const shown = parse(source, options, {}).map(({ tree }) => html(tree)).join("");
    assert.equal(seen(shown), seen(ofOurs(expected)), source);
  });
}
