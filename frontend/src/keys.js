/** The values that a bot needs from each person, such as an API key. They never leave the tab but for the server. */
import { create, dialogOf, tool } from "./dom.js";
import { texts } from "./texts.js";

/** @typedef {import("./client.js").ChatClient} ChatClient */

/** The form that asks for them: in the composer's place, and later in a dialog. */
export class Keys {
  #place;
  #save;
  /** @type {ChatClient | null} */
  #client = null;

  /** @param {HTMLElement} place of the form while nothing goes without them @param {() => void} saved */
  constructor(place, saved) {
    this.#place = place;
    this.#save = saved;
    this.#body = create("div", { part: "dialog-body" });
    this.dialog = dialogOf("keys-dialog", texts.keys, texts.close, this.#body);
    this.tool = tool("tool keys-open", "key", texts.keys, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });
  }

  #body;

  /** @param {ChatClient | null} client */
  set client(client) {
    this.#client = client;
    this.#refresh();
  }

  /** The server wants these. @param {string[]} names */
  demand(names) {
    const all = [...new Set([...Object.keys(this.#known()), ...names])];
    const form = this.#form(all, names);
    this.#place.replaceChildren(create("p", { part: "keys-text", role: "status" }, texts.keysNeeded), form);
    this.#place.hidden = false;
  }

  /** They are not wanted (any more). */
  release() {
    this.#place.hidden = true;
    this.#place.replaceChildren();
    this.#refresh();
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

  #refresh() {
    this.tool.hidden = !Object.keys(this.#known()).length;
  }

  #known() {
    return this.#client?.memory.env ?? {};
  }

  /** @param {string[]} names @param {string[]} missing */
  #form(names, missing) {
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
      this.#client?.setEnv({ ...known, ...Object.fromEntries(inputs.map(({ name, value }) => [name, value])) });
      this.dialog.close();
      this.#refresh();
      this.#save();
    });
    return form;
  }
}
