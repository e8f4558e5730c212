/** Steps on the way to an answer: rows that unfold, and stand below the step that they are part of. */
import { create } from "./dom.ts";
import type { Formatting } from "./formatting.ts";
import { texts } from "./texts.ts";

/** A step as the server describes it. */
export interface StepData {
  id: string;
  name?: string;
  type?: string;
  /** The id of the step that it is part of */
  parent?: string;
  input?: string;
  output?: string;
  /** Of the output: `markdown`; else it is plain text */
  format?: string;
  error?: string;
  /** It runs */
  streaming?: boolean;
}

/** @returns whether it is a step, and no event of an application that had the name before */
export function isStep(data: any): data is StepData {
  return typeof data?.id === "string";
}

export class Steps {
  #rows: Map<string, Row> = new Map();
  #formatting;

  constructor(formatting: Formatting) {
    this.#formatting = formatting;
  }

  clear() {
    this.#rows.clear();
  }

  /** @returns its row, if it is a new one that is no part of another */
  put(data: StepData): HTMLElement | null {
    const known = this.#rows.get(data.id);
    const row = known ?? new Row();
    row.show(data, this.#formatting);
    if (known) return null;
    this.#rows.set(data.id, row);
    const parent = data.parent == null ? undefined : this.#rows.get(data.parent);
    parent?.parts.append(row.element);
    return parent ? null : row.element;
  }

  /** @param id with the steps that are part of it */
  remove(id: string) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }

  /** Where the output of a step is, if it is one. */
  output(id: string) {
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
  element: HTMLElement;

  constructor() {
    const summary = create("summary", { part: "step-summary" }, this.#name, this.#state);
    const body = create("div", { part: "step-body" }, labelled(texts.stepInput, this.#input), labelled(texts.stepOutput, this.output), this.#error);
    this.#details = create("details", { part: "step" }, summary, body);
    // Told by who asks for it, and not while it runs.
    this.element = create("div", { part: "step-row", "aria-live": "off" }, this.#details, this.parts);
  }

  show({ id, name, type, input, output, format, error, streaming }: StepData, formatting: Formatting) {
    const state = streaming ? "running" : error ? "failed" : "done";
    this.element.dataset.id = id;
    this.#details.dataset.state = state;
    this.#details.dataset.type = type ?? "";
    this.#name.textContent = name || texts.step;
    this.#state.textContent = texts.stepStates[state];
    this.#input.textContent = input ?? "";
    if (format === "markdown") formatting.show(this.output, output ?? "", !streaming);
    else this.output.textContent = output ?? "";
    if (!streaming) this.output.removeAttribute("dir");
    this.#error.textContent = error ?? "";
  }
}

/** A text with its heading; the sheet hides both where there is none. */
function labelled(label: string, text: HTMLElement) {
  return create("div", { part: "step-field" }, create("div", { part: "step-label" }, label), text);
}
