/** Steps on the way to an answer: rows that unfold, and stand below the step that they are part of. */
import { create } from "./dom.js";
import { texts } from "./texts.js";

/**
 * A step as the server describes it.
 * @typedef {object} StepData
 * @property {string} id
 * @property {string} [name]
 * @property {string} [type]
 * @property {string} [parent] the id of the step that it is part of
 * @property {string} [input]
 * @property {string} [output]
 * @property {string} [error]
 * @property {boolean} [streaming] it runs
 */

/** @param {any} data @returns {data is StepData} whether it is a step, and no event of an application that had the name before */
export function isStep(data) {
  return typeof data?.id === "string";
}

export class Steps {
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #list;

  /** @param {HTMLElement} list of what is in the log */
  constructor(list) {
    this.#list = list;
  }

  clear() {
    this.#rows.clear();
  }

  /** @param {StepData} data */
  put(data) {
    const known = this.#rows.get(data.id);
    const row = known ?? new Row();
    row.show(data);
    if (known) return;
    this.#rows.set(data.id, row);
    const parent = data.parent == null ? undefined : this.#rows.get(data.parent);
    (parent?.parts ?? this.#list).append(row.element);
  }

  /** @param {string} id with the steps that are part of it */
  remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }

  /** Where the output of a step is, if it is one. @param {string} id */
  output(id) {
    return this.#rows.get(id)?.output;
  }
}

class Row {
  #name = create("bdi", { part: "step-name" });
  #state = create("span", { part: "step-state" });
  #input = create("pre", { part: "step-text" });
  #error = create("p", { part: "step-error" });
  #details;
  output = create("pre", { part: "step-text" });
  /** The steps that are part of it. */
  parts = create("div", { part: "steps" });

  constructor() {
    const summary = create("summary", { part: "step-summary" }, this.#name, this.#state);
    const body = create("div", { part: "step-body" }, labelled(texts.stepInput, this.#input), labelled(texts.stepOutput, this.output), this.#error);
    this.#details = create("details", { part: "step" }, summary, body);
    // Told by who asks for it, and not while it runs.
    this.element = create("div", { part: "step-row", "aria-live": "off" }, this.#details, this.parts);
  }

  /** @param {StepData} data */
  show({ id, name, type, input, output, error, streaming }) {
    const state = streaming ? "running" : error ? "failed" : "done";
    this.element.dataset.id = id;
    this.#details.dataset.state = state;
    this.#details.dataset.type = type ?? "";
    this.#name.textContent = name || texts.step;
    this.#state.textContent = texts.stepStates[state];
    this.#input.textContent = input ?? "";
    this.output.textContent = output ?? "";
    this.#error.textContent = error ?? "";
  }
}

/** A text with its heading; the sheet hides both where there is none. @param {string} label @param {HTMLElement} text */
function labelled(label, text) {
  return create("div", { part: "step-field" }, create("div", { part: "step-label" }, label), text);
}
