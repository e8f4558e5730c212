/** The settings that a bot lets a person change: a form in a dialog. */
import { button, create, dialogOf, tool } from "./dom.js";
import { field } from "./fields.js";
import { texts } from "./texts.js";

/** @typedef {import("./fields.js").InputData} InputData */
/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */

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
  #error = create("p", { part: "form-error", role: "alert", hidden: true });
  #save = create("button", { type: "submit", part: "primary" }, texts.save);
  /** Whether what was typed is on its way. */
  #saving = false;

  /** @param {(values: Record<string, any>) => boolean} send whether it could be sent */
  constructor(send) {
    this.#send = send;
    const defaults = button("secondary", texts.defaults, () => this.#write(this.#initial()));
    this.#form = create("form", { part: "dialog-body", novalidate: true }, this.#list, this.#error, create("div", { part: "dialog-ways" }, this.#save, defaults));
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
    this.#fields[0]?.control.focus();
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

  /** @param {InputData[]} inputs */
  #offer(inputs) {
    this.#inputs = inputs;
    this.#fields = inputs.map((input, index) => field(input, `setting-${index}`)).filter((found) => found !== null);
    this.#list.replaceChildren(...this.#fields.map(({ element }) => element));
    this.tool.hidden = !this.#fields.length;
    if (this.tool.hidden) this.dialog.close();
    else if (this.dialog.open) this.#write({ ...this.#initial(), ...this.#values });
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
  #write(values) {
    for (const { id, write } of this.#fields) write(values[id]);
  }

  #submit() {
    this.#complain("");
    const values = Object.fromEntries(this.#fields.map(({ id, read }) => [id, read()]));
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
    blamed?.complain(detail);
    blamed?.control.focus();
    this.#error.textContent = blamed ? "" : detail;
    this.#error.hidden = !detail || Boolean(blamed);
  }
}

/** The field that a text names: the longest name counts, for one may be part of another. @param {Field[]} fields @param {string} text */
function named(fields, text) {
  const words = new Set(text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/^[.-]+|[.-]+$/g, "")));
  return fields.find(({ id }) => words.has(id)) ?? [...fields].sort((a, b) => b.id.length - a.id.length).find(({ id }) => text.includes(id));
}
