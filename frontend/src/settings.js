/** The settings that a bot lets a person change: a form in a dialog. */
import { button, create, dialogOf, tool } from "./dom.js";
import { field } from "./fields.js";
import { Tabs } from "./tabs.js";
import { texts } from "./texts.js";

/** @typedef {import("./fields.js").InputData} InputData */
/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */
/** Inputs that stand behind a tab. @typedef {{type: "tab", id: string, label?: string, inputs: InputData[]}} Group */

export class Settings {
  /** @type {Field[]} */
  #fields = [];
  /** @type {InputData[]} */
  #inputs = [];
  /** @type {Record<string, any>} */
  #values = {};
  #send;
  #form;
  #list = create("div", { part: "fields" });
  #tabs = new Tabs();
  #error = create("p", { part: "form-error", role: "alert", hidden: true });
  #save = create("button", { type: "submit", part: "primary" }, texts.save);
  /** Whether what was typed is on its way. */
  #saving = false;

  /** @param {(values: Record<string, any>) => boolean} send whether it could be sent */
  constructor(send) {
    this.#send = send;
    const defaults = button("secondary", texts.defaults, () => this.#write(this.#initial(), this.#fields.filter(({ disabled }) => !disabled)));
    this.#form = create("form", { part: "dialog-body", novalidate: true }, this.#list, this.#tabs.element, this.#error, create("div", { part: "dialog-ways" }, this.#save, defaults));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.dialog = dialogOf("settings", texts.settings, texts.close, this.#form);
    this.dialog.addEventListener("close", () => (this.#saving = false));
    this.tool = tool("tool settings-open", "sliders", texts.settings, () => this.open(), { "aria-haspopup": "dialog", hidden: true });
  }

  /** Another log follows. */
  clear() {
    this.#values = {};
    this.#offer([]);
    this.dialog.close();
  }

  /** An entry of the log, if it is about settings. @param {string} name @param {any} data @returns {boolean} */
  show(name, data) {
    if (name === "settings_form") this.#offer(Array.isArray(data?.inputs) ? data.inputs : []);
    else if (name === "settings") this.#change(data);
    else return false;
    return true;
  }

  /** @param {Record<string, any>} [values] */
  open(values = { ...this.#initial(), ...this.#values }) {
    if (this.dialog.open) return;
    this.#complain("");
    this.#write(values);
    this.#busy(false);
    this.dialog.showModal();
    this.#fields.find(({ disabled }) => !disabled)?.focus();
  }

  /** What is not accepted yet. @param {Outgoing[]} frames */
  update(frames) {
    if (!this.#saving || frames.some(({ name }) => name === "settings")) return;
    this.#busy(false);
    this.dialog.close();
  }

  /** The server would not take them. @param {any} values @param {string} detail which names the field */
  refused(values, detail) {
    this.#saving = false; // and so it stays open
    if (!this.dialog.open) this.open({ ...this.#initial(), ...this.#values, ...values });
    this.#busy(false);
    this.#complain(detail);
  }

  /** @param {(InputData | Group)[]} offered */
  #offer(offered) {
    const groups = offered.filter(isGroup);
    const alone = this.#made(offered.filter((input) => !isGroup(input)), "setting");
    const grouped = groups.map(({ inputs }, index) => this.#made(inputs, `setting-${index}`));
    this.#inputs = [...offered.filter((input) => !isGroup(input)), ...groups.flatMap(({ inputs }) => inputs)];
    this.#fields = [...alone, ...grouped.flat()];
    this.#list.replaceChildren(...alone.map(({ element }) => element));
    this.#list.hidden = !alone.length;
    this.#tabs.offer(groups.map(({ id, label }, index) => ({ label: String(label || id), fields: grouped[index].map(({ element }) => element) })));
    this.tool.hidden = !this.#fields.length;
    if (this.tool.hidden) this.dialog.close();
    else if (this.dialog.open) this.#write({ ...this.#initial(), ...this.#values });
  }

  /** @param {InputData[]} inputs @param {string} id */
  #made(inputs, id) {
    return inputs.map((input, index) => field(input, `${id}-${index}`)).filter((found) => found !== null);
  }

  /** @param {any} values that hold from now on */
  #change(values) {
    this.#values = { ...this.#values, ...values };
    if (this.dialog.open && !this.#saving) this.#write({ ...this.#initial(), ...this.#values });
  }

  #initial() {
    return Object.fromEntries(this.#inputs.map(({ id, initial }) => [id, initial]));
  }

  /** @param {Record<string, any>} values */
  #write(values, fields = this.#fields) {
    for (const { id, write } of fields) write(values[id]);
  }

  #submit() {
    this.#complain("");
    const wrong = this.#fields.find(({ disabled, problem }) => !disabled && problem());
    if (wrong) return this.#blame(wrong, wrong.problem());
    const values = Object.fromEntries(this.#fields.filter(({ disabled }) => !disabled).map(({ id, read }) => [id, read()]));
    this.#busy(true);
    if (!this.#send(values)) this.#busy(false);
  }

  /** @param {boolean} saving */
  #busy(saving) {
    this.#saving = saving;
    this.#save.setAttribute("aria-disabled", String(saving));
    this.#save.textContent = saving ? texts.saving : texts.save;
  }

  /** @param {string} detail */
  #complain(detail) {
    for (const { complain } of this.#fields) complain("");
    const blamed = detail ? named(this.#fields, detail) : undefined;
    if (blamed) this.#blame(blamed, detail);
    this.#error.textContent = blamed ? "" : detail;
    this.#error.hidden = !detail || Boolean(blamed);
  }

  /** @param {Field} field @param {string} detail */
  #blame(field, detail) {
    field.complain(detail);
    this.#tabs.reveal(field.element);
    field.focus();
  }
}

/** @param {InputData | Group} input @returns {input is Group} */
function isGroup(input) {
  return input?.type === "tab" && Array.isArray(input.inputs);
}

/** The field that a text names: the longest name counts, for one may be part of another. @param {Field[]} fields @param {string} text */
function named(fields, text) {
  const words = new Set(text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/^[.-]+|[.-]+$/g, "")));
  return fields.find(({ id }) => words.has(id)) ?? [...fields].sort((a, b) => b.id.length - a.id.length).find(({ id }) => text.includes(id));
}
