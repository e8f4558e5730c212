/** The bot's questions: what they look like, what answers them, and until when. */
import { type Action, actionButton } from "./actions.ts";
import { Attachments } from "./attachments.ts";
import { button, create } from "./dom.ts";
import type { Formatting } from "./formatting.ts";
import { article } from "./message.ts";
import { texts } from "./texts.ts";
import type { FileServer } from "./uploads.ts";

/** A question as the server asks it. */
export interface AskData {
  call: string;
  /** `text`, `action`, `files`, or one of the application's own */
  kind: string;
  content: string;
  /** `markdown`; else it is plain text */
  format?: string;
  author?: string;
  /** In ISO 8601 */
  deadline?: string | null;
  /** Seconds */
  timeout?: number | null;
  actions?: Action[];
  accept?: string[] | Record<string, string[]>;
  max_files?: number;
  max_size_mb?: number;
  data?: any;
}

export interface Question {
  ask: AskData;
  element: HTMLElement;
  /** What answers it; empty where the composer does */
  input: HTMLElement;
  time: HTMLElement;
  /** Milliseconds since 1970 */
  until: number | null;
  open: boolean;
  /** Whether an answer is on its way */
  answered: boolean;
  /** Whether it was said that time runs out */
  warned: boolean;
  /** Whether the application was told of it */
  taken: boolean;
  attachments: Attachments | null;
}

export interface QuestionHandlers {
  answer: (call: string, data: any) => void;
  /** Another question is open, or none */
  changed: () => void;
  /** Say it to who listens */
  announce: (text: string) => void;
  notify: (text: string) => void;
  server: () => FileServer | null;
}

/** Seconds before the end at which who listens is told, once. */
const WARNING = 30;
const KINDS = new Set(["text", "action", "files"]);
const OUTCOMES = new Set(["timeout", "cancelled"]);

export class Questions {
  /** All of this log, by their call */
  #questions: Map<string, Question> = new Map();
  #formatting;
  #handlers;
  #clock: number | undefined;

  constructor(formatting: Formatting, handlers: QuestionHandlers) {
    this.#formatting = formatting;
    this.#handlers = handlers;
  }

  /** The question that the composer answers. */
  get openText(): AskData | undefined {
    return this.#waiting("text")?.ask;
  }

  /** Whether a question waits for one of its buttons. */
  get openChoice() {
    return this.#waiting("action") !== undefined;
  }

  /** Where files that are dropped belong, if a question asks for some. */
  get openFiles() {
    return this.#waiting("files")?.attachments ?? null;
  }

  /** Open questions that have no field here: they are the application's. Each is given out once. */
  takeOthers() {
    const others = [...this.#questions.values()].filter(({ ask, open, taken }) => open && !taken && !KINDS.has(ask.kind));
    for (const question of others) question.taken = true;
    return others.map(({ ask }) => ask);
  }

  has(call: string) {
    return this.#questions.has(call);
  }

  /** Whether the bot waits for us. */
  get open() {
    return [...this.#questions.values()].some(({ open, answered }) => open && !answered);
  }

  /** Let time run unseen, as while the element is on no page. */
  pause() {
    window.clearInterval(this.#clock);
  }

  /** Show the time that is left. */
  resume() {
    this.#watch();
  }

  clear() {
    for (const { attachments } of this.#questions.values()) attachments?.clear();
    this.#questions.clear();
    this.#watch();
  }

  show(ask: AskData, author: string, live: boolean): HTMLElement {
    const known = this.#questions.get(ask.call);
    if (known) this.#close(known);
    const input = create("div", { part: "answer" });
    const time = create("p", { part: "deadline", role: "timer", "aria-live": "off", hidden: true });
    const element = article({ author, text: String(ask.content ?? ""), kind: "other question" }, input, time);
    if (ask.format === "markdown") this.#formatting.show(element.querySelector("[part=content]")!, String(ask.content ?? ""));
    const question: Question = { ask, element, input, time, until: deadline(ask, live), open: true, answered: false, warned: !live, taken: false, attachments: null };
    this.#questions.set(ask.call, question);
    this.#build(question);
    this.#watch();
    this.#handlers.changed();
    return element;
  }

  close(call: string, outcome: string = "answered") {
    const question = this.#questions.get(call);
    if (!question) return;
    this.#close(question);
    if (OUTCOMES.has(outcome)) question.element.append(create("p", { part: "outcome" }, texts.outcomes[outcome]));
    this.#watch();
    this.#handlers.changed();
  }

  /** These questions have an answer that the server does not have yet. */
  update(calls: Set<string>) {
    let changed = false;
    for (const [call, question] of this.#questions) {
      if (!question.open || question.answered === calls.has(call)) continue;
      question.answered = !question.answered;
      question.input.hidden = question.answered;
      changed = true;
    }
    if (changed) this.#handlers.changed();
  }

  /** An answer in the words of who gave it. @param data as it was sent */
  words(data: any): { text: string; files?: string[] } | null {
    const { call, data: answer } = data ?? {};
    const question = this.#questions.get(call)?.ask;
    if (typeof answer?.content === "string") return { text: answer.content };
    if (Array.isArray(answer?.files)) return { text: "", files: answer.files.map(String) };
    const action = question?.actions?.find(({ id }) => id === answer?.id);
    return action ? { text: action.label || action.name } : null;
  }

  #waiting(kind: string) {
    return [...this.#questions.values()].filter(({ ask, open, answered }) => open && !answered && ask.kind === kind).at(-1);
  }

  #close(question: Question) {
    question.open = false;
    question.input.remove();
    question.time.remove();
    question.attachments?.clear();
    question.attachments = null;
  }

  #build(question: Question) {
    const { ask, input } = question;
    if (ask.kind === "action") input.append(create("div", { part: "actions", role: "group", "aria-label": texts.choices }, ...this.#choices(ask)));
    else if (ask.kind === "files") this.#fileField(question);
  }

  #choices({ call, actions = [] }: AskData) {
    return actions.map((action) => actionButton(action, () => this.#handlers.answer(call, { id: action.id })));
  }

  #fileField(question: Question) {
    const { ask, input } = question;
    const { notify, server } = this.#handlers;
    if (!server()) return input.append(create("p", { part: "outcome" }, texts.noFiles));
    const limits = { accept: ask.accept, maxFiles: ask.max_files ?? 1, maxMegabytes: ask.max_size_mb };
    const attachments = new Attachments(server, () => limits, { changed: () => refresh(), notify });
    const several = limits.maxFiles > 1;
    const choose = button("choose", several ? texts.chooseFiles : texts.chooseFile, () => attachments.choose());
    const send = button("send-files", texts.sendFiles, () => {
      if (attachments.obstacle || attachments.empty) return notify(attachments.obstacle || texts.noFileYet);
      this.#handlers.answer(ask.call, { files: attachments.ids });
    });
    const hint = create("span", { part: "file-hint" }, texts.fileLimits(ask.max_files, ask.max_size_mb));
    const refresh = () => {
      send.hidden = attachments.empty;
      send.setAttribute("aria-disabled", String(Boolean(attachments.obstacle)));
    };
    input.append(attachments.element, create("div", { part: "actions" }, choose, send), hint);
    question.attachments = attachments;
    refresh();
  }

  // --- time -----------------------------------------------------------------------------------------

  #watch() {
    window.clearInterval(this.#clock);
    const running = [...this.#questions.values()].filter(({ open, until }) => open && until !== null);
    if (!running.length) return;
    const tick = () => running.forEach((question) => this.#tick(question));
    tick();
    this.#clock = window.setInterval(tick, 1000);
  }

  #tick(question: Question) {
    const left = Math.max(0, Math.ceil(((question.until ?? 0) - Date.now()) / 1000));
    const words = left ? texts.timeLeft(left) : texts.timeUp;
    question.time.hidden = false;
    if (question.time.textContent !== words) question.time.textContent = words;
    question.time.toggleAttribute("data-soon", left <= WARNING);
    if (left > WARNING || question.warned || question.answered) return;
    question.warned = true;
    if (left) this.#handlers.announce(texts.timeLeft(left));
  }
}

/**
 * When a question's time is up, by our own clock: the server's may be another, but the seconds that
 * it gives for a question that has just come are the same everywhere.
 */
function deadline({ deadline, timeout }: AskData, live: boolean) {
  const latest = typeof timeout === "number" ? Date.now() + timeout * 1000 : Infinity;
  const said = Date.parse(deadline ?? "");
  const until = live && Number.isFinite(latest) ? latest : Math.min(Number.isNaN(said) ? Infinity : said, latest);
  return Number.isFinite(until) ? until : null;
}
