import { icon } from "./icons.js";

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

/**
 * A button with a picture, in the row of tools; its label is seen where there is room, and said everywhere.
 * @param {string} part
 * @param {string} picture
 * @param {string} label
 * @param {() => void} clicked
 * @param {Record<string, string | boolean>} [attributes]
 */
export function tool(part, picture, label, clicked, attributes = {}) {
  const element = create("button", { type: "button", part, title: label, ...attributes }, icon(picture), create("span", { part: "tool-label" }, label));
  element.addEventListener("click", clicked);
  return element;
}

/**
 * A dialog with a title, and a button that closes it.
 * @param {string} part
 * @param {string} title
 * @param {string} close what the button says
 * @param {(Node | string | null)[]} children
 */
export function dialogOf(part, title, close, ...children) {
  const id = `${part}-title`;
  const dismiss = button("dialog-close", "", () => dialog.close(), { "aria-label": close, title: close });
  dismiss.append(icon("x"));
  const dialog = create("dialog", { part: `dialog ${part}`, "aria-labelledby": id },
    create("header", { part: "dialog-header" }, create("h3", { part: "dialog-title", id }, title), dismiss),
    ...children,
  );
  // A click on what is around it: the dialog itself has no room of its own.
  dialog.addEventListener("pointerdown", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (event.target === dialog && !inside) dialog.close();
  });
  return dialog;
}

/** A name that somebody else chose: it cannot turn around what stands beside it. @param {string} text @param {string} [part] */
export function isolated(text, part) {
  return create("bdi", { part: part ?? null }, text);
}
