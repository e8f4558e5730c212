import { icon } from "./icons.ts";

/**
 * An element with its attributes and children. Strings become text, never markup.
 * @param attributes `true`: present; `null`, `false`: absent
 */
export function create<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Record<string, string | boolean | null | undefined> = {}, ...children: (Node | string | null | undefined)[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

export function button(part: string, label: string, clicked: () => void, attributes: Record<string, string | boolean> = {}) {
  const element = create("button", { type: "button", part, ...attributes }, label);
  element.addEventListener("click", clicked);
  return element;
}

/** A button with a picture, in the row of tools; its label is seen where there is room, and said everywhere. */
export function tool(part: string, picture: string, label: string, clicked: () => void, attributes: Record<string, string | boolean> = {}) {
  const element = create("button", { type: "button", part, title: label, ...attributes }, icon(picture), create("span", { part: "tool-label" }, label));
  element.addEventListener("click", clicked);
  return element;
}

/** A name that somebody else chose: it cannot turn around what stands beside it. */
export function isolated(text: string, part?: string) {
  return create("bdi", { part: part ?? null }, text);
}
