/** One field of the settings per kind of input that a bot may ask for. */
import { button, create } from "./dom.js";
import { icon } from "./icons.js";
import { texts } from "./texts.js";

/**
 * An input as the server describes it.
 * @typedef {object} InputData
 * @property {"select" | "slider" | "switch" | "textinput" | "tags"} type
 * @property {string} id
 * @property {string} [label]
 * @property {any} [initial]
 * @property {string} [tooltip]
 * @property {string} [description]
 * @property {string[]} [values] of a select; what tags may be chosen from, among others
 * @property {Record<string, any>} [items] of a select: its labels, and what they stand for
 * @property {number} [min]
 * @property {number} [max]
 * @property {number} [step]
 * @property {string} [placeholder]
 * @property {boolean} [multiline]
 */

/**
 * @typedef {object} Field
 * @property {string} id
 * @property {HTMLElement} element
 * @property {HTMLElement} control what gets the focus
 * @property {() => any} read
 * @property {(value: any) => void} write
 * @property {(text: string) => void} complain show what is wrong with it; an empty text: nothing
 */

/** @typedef {{control: HTMLElement, shown?: HTMLElement, beside?: HTMLElement, read: () => any, write: (value: any) => void}} Control */

/** @type {Record<string, (input: InputData, id: string) => Control>} */
const CONTROLS = { select, slider, switch: toggle, textinput, tags };

/** @param {InputData} input @param {string} id within the page @returns {Field | null} null for an input of a kind that we do not know */
export function field(input, id) {
  if (!Object.hasOwn(CONTROLS, input?.type)) return null;
  const { control, shown = control, beside, read, write } = CONTROLS[input.type](input, id);
  const hint = input.description || input.tooltip;
  const error = create("p", { part: "field-error", id: `${id}-error`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  const label = create("label", { part: "field-label", for: id }, String(input.label || input.id));
  const element = create("div", { part: `field field-${input.type}` },
    create("div", { part: "field-line" }, label, beside),
    shown,
    hint ? create("p", { part: "field-hint", id: `${id}-hint` }, String(hint)) : null,
    error,
  );
  const complain = (/** @type {string} */ text) => {
    error.textContent = text;
    error.hidden = !text;
    control.setAttribute("aria-invalid", String(Boolean(text)));
  };
  return { id: input.id, element, control, read, write, complain };
}

/** @param {InputData} input @returns {Control} */
function select({ values, items }) {
  /** @type {[string, any][]} */
  const options = items ? Object.entries(items) : (values ?? []).map((value) => [String(value), value]);
  const control = create("select", { part: "field-control" }, ...options.map(([label], index) => create("option", { value: String(index) }, label)));
  return {
    control,
    read: () => options[control.selectedIndex]?.[1] ?? null,
    write: (value) => (control.selectedIndex = options.findIndex(([, other]) => other === value)),
  };
}

/** @param {InputData} input @param {string} id @returns {Control} */
function slider({ min = 0, max = 10, step = 1 }, id) {
  const control = create("input", { type: "range", part: "field-range", min: String(min), max: String(max), step: String(step) });
  const output = create("output", { part: "field-output", for: id, "aria-live": "off" });
  const show = () => (output.textContent = control.value);
  control.addEventListener("input", show);
  return {
    control,
    beside: output,
    read: () => control.valueAsNumber,
    write: (value) => {
      control.value = String(value ?? min);
      show();
    },
  };
}

/** @returns {Control} */
function toggle() {
  const control = create("input", { type: "checkbox", role: "switch", part: "field-switch" });
  return { control, read: () => control.checked, write: (value) => (control.checked = Boolean(value)) };
}

/** @param {InputData} input @returns {Control} */
function textinput({ placeholder, multiline }) {
  const attributes = { part: "field-control", placeholder: placeholder ?? null, autocomplete: "off" };
  const control = multiline ? create("textarea", { ...attributes, rows: "4" }) : create("input", { ...attributes, type: "text" });
  return { control, read: () => control.value, write: (value) => (control.value = String(value ?? "")) };
}

/** @param {InputData} input @param {string} name @returns {Control} */
function tags({ placeholder, label, id, values = [] }, name) {
  /** @type {string[]} */
  let chosen = [];
  const control = create("input", { type: "text", part: "field-control", placeholder: placeholder || texts.tagPlaceholder, autocomplete: "off", enterkeyhint: "enter", list: values.length ? `${name}-values` : null });
  const offered = create("datalist", { id: `${name}-values` }, ...values.map((value) => create("option", { value })));
  const list = create("ul", { part: "tags", "aria-label": label || id });
  const show = () => {
    list.hidden = !chosen.length;
    list.replaceChildren(...chosen.map((tag, index) => {
      const remove = button("tag-remove", "", () => {
        chosen = chosen.filter((_, other) => other !== index);
        show();
        control.focus();
      }, { "aria-label": texts.removeTag(tag) });
      remove.append(icon("x"));
      return create("li", { part: "tag" }, create("bdi", {}, tag), remove);
    }));
  };
  const add = () => {
    for (const tag of control.value.split(",").map((text) => text.trim())) if (tag && !chosen.includes(tag)) chosen.push(tag);
    control.value = "";
    show();
  };
  control.addEventListener("keydown", (event) => {
    if (event.isComposing || (event.key !== "Enter" && event.key !== ",")) return;
    if (event.key === "Enter" && !control.value.trim()) return; // saves, as in any form
    event.preventDefault();
    add();
  });
  return {
    control,
    shown: create("div", { part: "tags-box" }, list, control, offered),
    read: () => {
      add();
      return [...chosen];
    },
    write: (value) => {
      chosen = Array.isArray(value) ? value.map(String) : [];
      control.value = "";
      show();
    },
  };
}
