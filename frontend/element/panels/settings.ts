/** The settings that a bot lets a person change: a form in a dialog. */
import type { Outgoing } from "../../client/client.ts";
import { dialogOf } from "./dialog.ts";
import { type Field, type InputData, field } from "./fields.ts";
import { button, create, texts, tool } from "./kit.ts";
import { Tabs } from "./tabs.ts";

/** Inputs that stand behind a tab. */
export type Group = { type: "tab"; id: string; label?: string; inputs: InputData[] };

export class Settings {
  #fields: Field[] = [];
  #inputs: InputData[] = [];
  #values: Record<string, any> = {};
  #send;
  #form;
  #list = create("div", { part: "fields" });
  #tabs = new Tabs();
  #error = create("p", { part: "form-error", role: "alert", hidden: true });
  #save = create("button", { type: "submit", part: "primary" }, texts.save);
  /** Whether what was typed is on its way. */
  #saving = false;
  dialog: HTMLDialogElement;
  tool = tool("tool settings-open", "sliders", texts.settings, () => this.open(), { "aria-haspopup": "dialog", hidden: true });

  /** @param send whether it could be sent */
  constructor(send: (values: Record<string, any>) => boolean) {
    this.#send = send;
    const defaults = button("secondary", texts.defaults, () => this.#write(this.#initial(), this.#fields.filter(({ disabled }) => !disabled)));
    this.#form = create("form", { part: "dialog-body", novalidate: true }, this.#list, this.#tabs.element, this.#error, create("div", { part: "dialog-ways" }, this.#save, defaults));
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    this.dialog = dialogOf("settings", texts.settings, texts.close, this.#form);
    this.dialog.addEventListener("close", () => (this.#saving = false));
  }

  /** Another log follows. */
  clear() {
    this.#values = {};
    this.#offer([]);
    this.dialog.close();
  }

  /** An entry of the log: what may be set, or what is. */
  show(name: string, data: any) {
    if (name === "settings_form") this.#offer(Array.isArray(data?.inputs) ? data.inputs : []);
    else this.#change(data);
  }

  open(values: Record<string, any> = { ...this.#initial(), ...this.#values }) {
    if (this.dialog.open) return;
    this.#complain("");
    this.#write(values);
    this.#busy(false);
    this.dialog.showModal();
    this.#fields.find(({ disabled }) => !disabled)?.focus();
  }

  /** What is not accepted yet. */
  update(frames: Outgoing[]) {
    if (!this.#saving || frames.some(({ name }) => name === "settings")) return;
    this.#busy(false);
    this.dialog.close();
  }

  /** The server would not take them. @param detail which names the field */
  refused(values: any, detail: string) {
    this.#saving = false; // and so it stays open
    if (!this.dialog.open) this.open({ ...this.#initial(), ...this.#values, ...values });
    this.#busy(false);
    this.#complain(detail);
  }

  #offer(offered: (InputData | Group)[]) {
    const groups = offered.filter(isGroup);
    const alone = this.#made(offered.filter((input) => !isGroup(input)), "setting");
    const grouped = groups.map(({ inputs }, index) => this.#made(inputs, `setting-${index}`));
    this.#inputs = [...offered.filter((input) => !isGroup(input)), ...groups.flatMap(({ inputs }) => inputs)];
    this.#fields = [...alone, ...grouped.flat()];
    this.#list.replaceChildren(...alone.map(({ element }) => element));
    this.#list.hidden = !alone.length;
    this.#tabs.offer(groups.map(({ id, label }, index) => ({ label: String(label || id), fields: grouped[index]?.map(({ element }) => element) ?? [] })));
    this.tool.hidden = !this.#fields.length;
    if (this.tool.hidden) this.dialog.close();
    else if (this.dialog.open) this.#write({ ...this.#initial(), ...this.#values });
  }

  #made(inputs: InputData[], id: string) {
    return inputs.map((input, index) => field(input, `${id}-${index}`)).filter((found) => found !== null);
  }

  /** @param values that hold from now on */
  #change(values: any) {
    this.#values = { ...this.#values, ...values };
    if (this.dialog.open && !this.#saving) this.#write({ ...this.#initial(), ...this.#values });
  }

  #initial() {
    return Object.fromEntries(this.#inputs.map(({ id, initial }) => [id, initial]));
  }

  #write(values: Record<string, any>, fields = this.#fields) {
    for (const { id, write } of fields) write(values[id]);
  }

  #submit() {
    if (this.#saving) return;
    this.#complain("");
    const wrong = this.#fields.find(({ disabled, problem }) => !disabled && problem());
    if (wrong) return this.#blame(wrong, wrong.problem());
    const values = Object.fromEntries(this.#fields.filter(({ disabled }) => !disabled).map(({ id, read }) => [id, read()]));
    this.#busy(true);
    if (!this.#send(values)) this.#busy(false);
  }

  #busy(saving: boolean) {
    this.#saving = saving;
    this.#save.setAttribute("aria-disabled", String(saving));
    this.#save.textContent = saving ? texts.saving : texts.save;
  }

  #complain(detail: string) {
    for (const { complain } of this.#fields) complain("");
    const blamed = detail ? named(this.#fields, detail) : undefined;
    if (blamed) this.#blame(blamed, detail);
    this.#error.textContent = blamed ? "" : detail;
    this.#error.hidden = !detail || Boolean(blamed);
  }

  #blame(field: Field, detail: string) {
    field.complain(detail);
    this.#tabs.reveal(field.element);
    field.focus();
  }
}

function isGroup(input: InputData | Group): input is Group {
  return input?.type === "tab" && Array.isArray(input.inputs);
}

/** The field that a text names: the longest name counts, for one may be part of another. */
function named(fields: Field[], text: string) {
  const words = new Set(text.split(/[^\p{L}\p{N}_.-]+/u).map((word) => word.replace(/^[.-]+|[.-]+$/g, "")));
  return fields.find(({ id }) => words.has(id)) ?? [...fields].sort((a, b) => b.id.length - a.id.length).find(({ id }) => text.includes(id));
}
