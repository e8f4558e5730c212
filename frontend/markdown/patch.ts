/** Trees as nodes of a page. Nothing is ever parsed as HTML. */
import type { Branch, Tree } from "./tree.ts";

export function build(tree: Tree): ChildNode {
  if (typeof tree === "string") return new Text(tree);
  const element = document.createElement(tree.tag);
  for (const [name, value] of Object.entries(tree.attributes ?? {})) element.setAttribute(name, value);
  element.append(...(tree.children ?? []).map(build));
  return element;
}

/** Make a node that shows `before` show `now`, and keep what is the same. @returns the node, or the one in its place */
export function patch(node: ChildNode, before: Tree, now: Tree): ChildNode {
  if (before === now) return node;
  if (typeof before === "string" && typeof now === "string" && node instanceof Text) {
    // Added to: what a reader has selected stays selected.
    if (now.startsWith(before)) node.appendData(now.slice(before.length));
    else node.data = now;
    return node;
  }
  if (typeof before === "object" && typeof now === "object" && isAlike(before, now) && node.childNodes.length === (before.children?.length ?? 0)) {
    patchChildren(node, before.children ?? [], now.children ?? []);
    return node;
  }
  const made = build(now);
  node.replaceWith(made);
  return made;
}

function patchChildren(node: ChildNode, before: Tree[], now: Tree[]) {
  const nodes = [...node.childNodes];
  for (const [index, tree] of now.entries()) {
    const shown = nodes[index];
    if (shown) patch(shown, before[index] ?? "", tree);
    else node.appendChild(build(tree));
  }
  for (const old of nodes.slice(now.length)) old.remove();
}

function isAlike(one: Branch, other: Branch) {
  return one.tag === other.tag && JSON.stringify(one.attributes) === JSON.stringify(other.attributes);
}
