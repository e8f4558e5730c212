/**
 * An element with its attributes and children. Strings become text, never markup.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | boolean | null | undefined>} [attributes] `true`: present; `null`, `false`: absent
 * @param {(Node | string | null | undefined)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function create(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * @param {string} part
 * @param {string} label
 * @param {() => void} clicked
 * @param {Record<string, string | boolean>} [attributes]
 */
export function button(part, label, clicked, attributes = {}) {
  const element = create("button", { type: "button", part, ...attributes }, label);
  element.addEventListener("click", clicked);
  return element;
}
