/** Links in plain text. */
import { create } from "./kit.ts";

/** Up to a space or a quote, or a sign that cannot be seen: what is said in an order of its own, or hidden, is no part of it. */
const ADDRESS = /\b(?:https?:\/\/|mailto:)[^\s<>"\p{Cc}\p{Cf}]+/giu;
/** What a sentence has after an address, rather than an address at its end. */
const TRAILING = /[.,:;!?'*_~’”»…。，、；：！？]/u;
const BRACKETS: Record<string, string> = { ")": "(", "]": "[", "}": "{", "）": "（", "】": "【", "」": "「" };
/** Links in one text; what comes after them is text. */
const MOST = 500;
/** Longer ones are text. */
const LONGEST = 2000;

/** Make links of the addresses in a text, whose nodes stay. */
export function linkify(place: Element) {
  let count = 0;
  for (const node of [...place.childNodes]) {
    if (!(node instanceof Text)) continue;
    let rest = node;
    let start = 0;
    for (const { 0: found, index } of node.data.matchAll(ADDRESS)) {
      const address = trimmed(found);
      const url = target(address);
      if (!url) continue;
      if (++count > MOST) return;
      const text = rest.splitText(index - start);
      rest = text.splitText(address.length);
      start = index + address.length;
      // Its title is where it leads, in the letters that the browser asks for.
      const link = create("a", { part: "link", href: url.href, title: url.href, dir: "ltr", target: "_blank", rel: "noopener noreferrer nofollow" });
      text.replaceWith(link);
      link.append(text);
    }
  }
}

/** Without what belongs to the sentence around it: marks, and brackets that were opened before it. */
export function trimmed(address: string): string {
  const open: Record<string, number> = {};
  for (const sign of address) open[sign] = (open[sign] ?? 0) + 1;
  let end = address.length;
  for (; end; end--) {
    const sign = address[end - 1]!;
    const opening = BRACKETS[sign];
    if (opening) {
      if (open[sign]! <= (open[opening] ?? 0)) break;
      open[sign]!--;
    } else if (!TRAILING.test(sign)) break;
  }
  return address.slice(0, end);
}

function target(address: string): URL | null {
  if (address.length > LONGEST || !URL.canParse(address)) return null;
  const url = new URL(address);
  return url.host || url.pathname.includes("@") ? url : null;
}
