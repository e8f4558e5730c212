/** One field of the settings per kind of input that a bot may ask for. */
import { button, create, icon, number, texts } from "./kit.ts";

/** An input as the server describes it. */
export interface InputData {
  type: "select" | "radio" | "multiselect" | "slider" | "numberinput" | "switch" | "checkbox" | "textinput" | "tags" | "datepicker";
  id: string;
  label?: string;
  initial?: any;
  tooltip?: string;
  description?: string;
  disabled?: boolean;
  /** What may be chosen; of tags, among others */
  values?: string[];
  /** What may be chosen: labels, and what they stand for */
  items?: Record<string, any>;
  min?: number;
  max?: number;
  step?: number;
  placeholder?: string;
  multiline?: boolean;
  /** Of a date: one, or the first and the last */
  mode?: "single" | "range";
  min_date?: string;
  max_date?: string;
}

export interface Field {
  id: string;
  element: HTMLElement;
  disabled: boolean;
  focus: () => void;
  read: () => any;
  write: (value: any) => void;
  /** What is wrong with what was typed, before the server has seen it */
  problem: () => string;
  /** Show what is wrong with it; an empty text: nothing */
  complain: (text: string) => void;
}

/** What a person changes: one control, or a `group` of some that the label is of. */
export type Control = { control: HTMLElement; group?: "group" | "radiogroup"; shown?: HTMLElement; beside?: HTMLElement; read: () => any; write: (value: any) => void; problem?: () => string };

const CONTROLS: Record<string, (input: InputData, id: string) => Control> = { select, radio, multiselect, slider, numberinput, switch: toggle, checkbox, textinput, tags, datepicker };

/** @param id within the page @returns null for an input of a kind that we do not know */
export function field(input: InputData, id: string): Field | null {
  if (!Object.hasOwn(CONTROLS, input?.type)) return null;
  const { control, group, shown = control, beside, read, write, problem = () => "" } = CONTROLS[input.type]!(input, id);
  const hint = [input.description, input.tooltip].filter(Boolean).join(" ");
  const disabled = Boolean(input.disabled);
  const error = create("p", { part: "field-error", id: `${id}-error`, hidden: true });
  control.id = id;
  control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  const words = String(input.label || input.id);
  const label = group ? create("span", { part: "field-label", id: `${id}-label` }, words) : create("label", { part: "field-label", for: id }, words);
  if (group) {
    control.setAttribute("role", group);
    control.setAttribute("aria-labelledby", `${id}-label`);
  }
  // A fieldset, where all in it is disabled with it.
  const element = create(disabled ? "fieldset" : "div", { part: `field field-${input.type}`, role: disabled ? "presentation" : null, disabled },
    create("div", { part: "field-line" }, label, beside),
    shown,
    hint ? create("p", { part: "field-hint", id: `${id}-hint` }, hint) : null,
    error,
  );
  const complain = (text: string) => {
    error.textContent = text;
    error.hidden = !text;
    control.setAttribute("aria-invalid", String(Boolean(text)));
  };
  const focus = () => {
    const inside = group ? (control.querySelector("input:checked") ?? control.querySelector("input")) : null;
    (inside instanceof HTMLElement ? inside : control).focus();
  };
  return { id: input.id, element, disabled, focus, read, write, problem, complain };
}

/** What may be chosen: labels, and what they stand for. */
function optionsOf({ values, items }: InputData): [string, any][] {
  return items && Object.keys(items).length ? Object.entries(items) : (values ?? []).map((value) => [String(value), value]);
}

/** A group of choices, each with its label. */
function choices(type: "radio" | "checkbox", input: InputData, id: string) {
  const options = optionsOf(input);
  const boxes = options.map(() => create("input", { type, part: "field-box", name: `${id}-choice` }));
  const labels = options.map(([label], index) => create("label", { part: "field-choice" }, boxes[index], create("span", {}, label)));
  return { options, boxes, control: create("div", { part: "field-choices" }, ...labels) };
}

function radio(input: InputData, id: string): Control {
  const { options, boxes, control } = choices("radio", input, id);
  return {
    control,
    group: "radiogroup",
    read: () => options.find((_, index) => boxes[index]?.checked)?.[1] ?? null,
    write: (value) => boxes.forEach((box, index) => (box.checked = options[index]?.[1] === value)),
  };
}

function multiselect(input: InputData, id: string): Control {
  const { options, boxes, control } = choices("checkbox", input, id);
  return {
    control,
    group: "group",
    read: () => options.filter((_, index) => boxes[index]?.checked).map(([, value]) => value),
    write: (value) => boxes.forEach((box, index) => (box.checked = Array.isArray(value) && value.includes(options[index]?.[1]))),
  };
}

function select(input: InputData): Control {
  const options = optionsOf(input);
  const control = create("select", { part: "field-control" }, ...options.map(([label], index) => create("option", { value: String(index) }, label)));
  return {
    control,
    read: () => options[control.selectedIndex]?.[1] ?? null,
    write: (value) => (control.selectedIndex = options.findIndex(([, other]) => other === value)),
  };
}

function slider({ min = 0, max = 10, step = 1 }: InputData, id: string): Control {
  const control = create("input", { type: "range", part: "field-range", min: String(min), max: String(max), step: String(step) });
  const output = create("output", { part: "field-output", for: id, "aria-live": "off" });
  const show = () => (output.textContent = number(control.valueAsNumber, { maximumFractionDigits: 6 }));
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

function numberinput({ placeholder }: InputData): Control {
  const control = create("input", { type: "number", step: "any", part: "field-control", placeholder: placeholder ?? null, autocomplete: "off" });
  return {
    control,
    read: () => (Number.isNaN(control.valueAsNumber) ? null : control.valueAsNumber),
    write: (value) => (control.value = String(value ?? "")),
    problem: () => (control.validity.badInput ? texts.notANumber : ""),
  };
}

function checkbox(): Control {
  const control = create("input", { type: "checkbox", part: "field-box" });
  return { control, read: () => control.checked, write: (value) => (control.checked = Boolean(value)) };
}

function datepicker({ mode, min_date: min, max_date: max }: InputData, id: string): Control {
  const day = (attributes: Record<string, string> = {}) => create("input", { type: "date", part: "field-control", min: min ?? null, max: max ?? null, ...attributes });
  if (mode !== "range") {
    const control = day();
    return {
      control,
      read: () => control.value || null,
      write: (value) => (control.value = String(value ?? "")),
      problem: () => (control.validity.badInput ? texts.notADate : ""),
    };
  }
  const days = [day({ id: `${id}-from` }), day({ id: `${id}-to` })];
  const labels = [texts.firstDay, texts.lastDay].map((label, index) => create("label", { part: "field-choice" }, create("span", {}, label), days[index]));
  return {
    control: create("div", { part: "field-days" }, ...labels),
    group: "group",
    read: () => (days.some(({ value }) => value) ? days.map(({ value }) => value || null) : null),
    write: (value) => days.forEach((one, index) => (one.value = String(value?.[index] ?? ""))),
    problem: () => {
      if (days.some(({ validity }) => validity.badInput)) return texts.notADate;
      return Boolean(days[0]?.value) === Boolean(days[1]?.value) ? "" : texts.bothDays;
    },
  };
}

function toggle(): Control {
  const control = create("input", { type: "checkbox", role: "switch", part: "field-switch" });
  return { control, read: () => control.checked, write: (value) => (control.checked = Boolean(value)) };
}

function textinput({ placeholder, multiline }: InputData): Control {
  const attributes = { part: "field-control", placeholder: placeholder ?? null, autocomplete: "off" };
  const control = multiline ? create("textarea", { ...attributes, rows: "4" }) : create("input", { ...attributes, type: "text" });
  return { control, read: () => control.value, write: (value) => (control.value = String(value ?? "")) };
}

function tags({ placeholder, label, id, values = [] }: InputData, name: string): Control {
  let chosen: string[] = [];
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
