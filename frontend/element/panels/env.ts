/** The values that a bot needs from each person, such as an API key. They never leave the tab but for the server. */
import type { ChatClient } from "../../client/client.ts";
import { dialogOf } from "./dialog.ts";
import { create, texts, tool } from "./kit.ts";

/** The form that asks for them: in the composer's place, and later in a dialog. */
export class EnvForm {
  #place;
  #save;
  #client;
  #body = create("div", { part: "dialog-body" });
  dialog = dialogOf("keys-dialog", texts.keys, texts.close, this.#body);
  tool = tool("tool keys-open", "key", texts.keys, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });

  /** @param place of the form while nothing goes without them */
  constructor(place: HTMLElement, client: () => ChatClient | null, saved: () => void) {
    this.#place = place;
    this.#client = client;
    this.#save = saved;
  }

  /** The server wants these. */
  demand(names: string[]) {
    const all = [...new Set([...Object.keys(this.#known()), ...names])];
    const form = this.#form(all, names);
    const focused = this.#place.matches(":focus-within");
    this.#place.replaceChildren(create("p", { part: "keys-text", role: "status" }, texts.keysNeeded), form);
    this.#place.hidden = false;
    if (focused) form.querySelector("input")?.focus();
  }

  /** They are not wanted (any more). */
  release() {
    this.#place.hidden = true;
    this.#place.replaceChildren();
    this.refresh();
  }

  /** Somebody else is here. */
  forget() {
    this.dialog.close();
    this.#body.replaceChildren();
    this.release();
  }

  #open() {
    this.#body.replaceChildren(this.#form(Object.keys(this.#known()), []));
    this.dialog.showModal();
  }

  /** Somebody has given some, or nobody has. */
  refresh() {
    this.tool.hidden = !Object.keys(this.#known()).length;
  }

  #known() {
    return this.#client()?.storage.env ?? {};
  }

  #form(names: string[], missing: string[]) {
    const known = this.#known();
    const inputs = names.map((name, index) => {
      const input = create("input", { type: "password", part: "field-control", id: `key-${index}`, name, required: true, autocomplete: "off", spellcheck: "false", autocapitalize: "off" });
      input.value = missing.includes(name) ? "" : known[name] ?? "";
      return input;
    });
    const fields = inputs.map((input, index) => create("div", { part: "field" }, create("label", { part: "field-label", for: input.id }, names[index]), input));
    const form = create("form", { part: "keys-form" }, ...fields, create("p", { part: "field-hint" }, texts.keysHint), create("div", { part: "dialog-ways" }, create("button", { type: "submit", part: "primary" }, texts.keysSave)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#client()?.setEnv({ ...known, ...Object.fromEntries(inputs.map(({ name, value }) => [name, value])) });
      this.dialog.close();
      this.refresh();
      this.#save();
    });
    return form;
  }
}
