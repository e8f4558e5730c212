/** The messages on the page: one entry of the log after the other becomes elements. */
import type { Entry, Outgoing } from "../client/client.ts";
import { type Action, Actions } from "./actions.ts";
import { copyButton } from "./copying.ts";
import { create } from "./dom.ts";
import { Feedback, type Given } from "./feedback.ts";
import { Files } from "./files.ts";
import type { Formatting } from "./formatting.ts";
import { type FileInfo, article, failure, ownArticle } from "./message.ts";
import type { PanelLoader } from "./panel-loader.ts";
import { Questions } from "./questions.ts";
import { Branches, type Replaced, Resending } from "./resending.ts";
import { Roving } from "./roving.ts";
import { Steps, isStep } from "./steps.ts";
import { texts } from "./texts.ts";
import type { FileServer } from "./uploads.ts";

/** A message as the server describes it. */
export interface MessageData {
  id: string;
  author?: string;
  content: string;
  /** `markdown`; else it is plain text */
  format?: string;
  created_at?: string;
  streaming?: boolean;
  /** Left out where it is the assistant's */
  type?: string;
  actions?: Action[];
  files?: FileInfo[];
  /** `error`: it tells of a failure */
  metadata?: any;
  /** In a change: it is of what a person wrote, by the event with this number */
  n?: number;
}

/** What a person wrote: its text, and its files or their ids. */
export type Words = { text: string; files?: (string | FileInfo)[] };

/** What happens around a transcript. */
export interface MessageListHandlers {
  /** An action of a message was pressed */
  act: (data: { id: string; name: string; payload: any }) => void;
  /** Give an answer a thumb, or take it back; false if that cannot be */
  rate: (data: Given & { message: string }) => boolean;
  /** Whether answers have thumbs */
  rated: () => boolean;
  /** Change the user's last message, to send it again */
  edit: (replaced: Replaced) => void;
  /** Send it again as it was */
  again: (replaced: Replaced) => void;
  /** Whether that can be done */
  resendable: () => boolean;
  /** A question was answered in its own field */
  answer: (call: string, data: any) => void;
  /** Another question is open, or none */
  asked: () => void;
  /** There is something to `flush()` */
  changed: () => void;
  /** Say it to who listens */
  announce: (text: string) => void;
  /** Say what went wrong */
  notify: (text: string) => void;
  /** Where files are */
  server: () => FileServer | null;
  /** Do something with the panels */
  use: PanelLoader["use"];
}

/** A stream grows with each frame, but the longer it is the rarer: for so many letters a millisecond later, up to so many. */
const LETTERS = 240;
const RAREST = 300;
/** Messages stand in groups of so many: browsers look at each child of the list in each frame in which it changes. */
const GROUP = 50;

export class MessageList {
  /** Messages by their id */
  #messages: Map<string, HTMLElement> = new Map();
  /** What persons wrote, by the number of its event: ids are chosen by clients */
  #own: Map<number, HTMLElement> = new Map();
  /** The entries by which what stands in the list has come */
  #origins: WeakMap<Element, Entry> = new WeakMap();
  /** Where in the log the server's messages and steps were sent last, by their id */
  #sent: Map<string, number> = new Map();
  #branches = new Branches();
  /** What is not on the page yet: it comes with the next frame */
  #fresh = document.createDocumentFragment();
  /** Text that has come since the last frame, by the message */
  #grown: Map<string, string> = new Map();
  /** When it may be shown */
  #next = 0;
  #later: number | undefined;
  #list;
  #waiting;
  #changed;
  #actions;
  #feedback;
  #rated;
  #resending;
  #resendable;
  #roving;
  #files;
  #steps;
  #formatting;
  #announce;
  #use;
  #author = "";
  /** Changes of what is not here yet, in their order */
  #held: Entry[] = [];
  /** Whether the conversation has a beginning that is not here */
  more = false;
  readonly questions: Questions;

  /**
   * @param list of what is in the log
   * @param waiting list of what is not yet
   */
  constructor(list: HTMLElement, waiting: HTMLElement, formatting: Formatting, { act, asked, changed, rate, rated, edit, again, resendable, use, ...handlers }: MessageListHandlers) {
    this.#list = list;
    this.#waiting = waiting;
    this.#changed = changed;
    this.#formatting = formatting;
    this.#announce = handlers.announce;
    this.#actions = new Actions(act);
    this.#feedback = new Feedback(rate, use);
    this.#use = use;
    this.#rated = rated;
    this.#resending = new Resending(edit, again);
    this.#resendable = resendable;
    this.#roving = new Roving(list);
    this.#files = new Files(handlers.server, handlers.notify, use);
    this.#steps = new Steps(formatting);
    this.questions = new Questions(formatting, { ...handlers, changed: asked });
  }

  get empty() {
    return !this.#waiting.childElementCount && !this.#list.querySelector(":scope > * > :not([hidden])");
  }

  /** Who writes when a message does not say. */
  set author(author: string) {
    this.#author = author;
  }

  clear() {
    this.#messages.clear();
    this.#own.clear();
    this.#sent.clear();
    this.#actions.clear();
    this.#feedback.clear();
    this.#resending.clear();
    this.#branches.clear();
    this.#files.clear();
    this.#steps.clear();
    this.questions.clear();
    this.#grown.clear();
    this.#held = [];
    this.more = false;
    this.#fresh.replaceChildren();
    this.#list.replaceChildren();
  }

  /** A remark between the messages. */
  note(text: string) {
    this.#fresh.append(create("p", { part: "note" }, text));
  }

  /** Show an entry. @returns whether it was one of ours to show */
  show(entry: Entry, live: boolean): boolean {
    const { name, data, n } = entry;
    this.#grow();
    this.#changed();
    if (this.#isPast(entry)) return true;
    if (this.more && this.#isEarly(entry)) {
      this.#held.push(entry);
      return true;
    }
    if (n != null) this.#showOwn(entry, n);
    else if (name === "message_update" && data?.n != null) this.#changeOwn(data, entry);
    else if (name === "message_remove" && data?.n != null) this.#removeOwn(data.n);
    else if (name === "message" || name === "message_update") this.#put(data, live, entry);
    else if (name === "message_remove") this.#remove(data?.id);
    else if ((name === "step" || name === "step_update") && isStep(data)) this.#place(this.#steps.put(data), entry);
    else if (name === "step_remove" && isStep(data)) this.#steps.remove(data.id);
    else if (name === "error") this.#place(failure(data), entry);
    else if (name === "ask") this.#place(this.questions.show(data, data.author || this.#author || texts.assistant, live), entry);
    else if (name === "ask_closed") this.questions.close(data?.call, data?.outcome);
    else return false;
    return true;
  }

  /** Put something at the end, unless it is of a turn that was dropped: then what changes it later changes nothing that is seen. */
  #place(element: HTMLElement | null, entry: Entry) {
    if (!element) return;
    this.#origins.set(element, entry);
    if (this.#branches.drops(entry)) this.#drop(element, entry);
    else this.#fresh.append(element);
  }

  #swap(shown: HTMLElement, element: HTMLElement) {
    const entry = this.#origins.get(shown);
    if (entry) this.#origins.set(element, entry);
    shown.replaceWith(element);
  }

  #drop(element: Element, { name, data }: Entry) {
    element.remove();
    if (name === "ask") this.questions.close(data?.call);
  }

  /** A message has taken the place of another one: that and what came of it go. */
  #dropReplaced() {
    for (const element of [...this.#list.querySelectorAll(":scope > * > *"), ...this.#fresh.children]) {
      const entry = this.#origins.get(element);
      if (entry && this.#branches.drops(entry)) this.#drop(element, entry);
    }
  }

  /** Put on the page what has come since the last frame. */
  flush() {
    if (performance.now() >= this.#next) this.#grow();
    this.#fill(this.#list, this.#list.lastElementChild);
    this.#roving.refresh();
  }

  /** Put what is fresh into groups at the end of a place. @param group that may have room */
  #fill(place: ParentNode, group: Element | null = null) {
    for (const element of [...this.#fresh.children]) {
      if (!group || group.childElementCount >= GROUP) place.append((group = create("div", { part: "group" })));
      group.append(element);
    }
  }

  /** Show entries from before all that are here. @param more whether there are still earlier ones */
  prepend(entries: Entry[], more: boolean) {
    this.flush();
    const held = this.#held;
    this.#held = [];
    this.more = more;
    for (const entry of [...entries, ...held]) this.show(entry, false);
    const earlier = document.createDocumentFragment();
    this.#fill(earlier);
    this.#list.prepend(earlier);
  }

  /** Whether an entry is about what was removed, with the steps that are part of it, and sent again: what is here is newer. */
  #isPast({ seq, name, data, n }: Entry) {
    if (n != null || data?.n != null || !isStep(data) || !/^(message|step)(_update|_remove)?$/.test(name)) return false;
    const sent = Math.max(...[data.id, data.parent ?? ""].map((id) => this.#sent.get(id) ?? 0));
    if (sent > seq || !name.includes("_")) this.#sent.set(data.id, Math.max(sent, seq));
    return sent > seq;
  }

  /** Whether an entry is about something that is not here yet. */
  #isEarly(entry: Entry) {
    const { name, data, n } = entry;
    if (name === "feedback") return !this.#messages.has(String(data?.message));
    if (n != null) return name === "answer" && !this.questions.has(data?.call) && this.#keepPlace(n, entry);
    if (name === "message_update" || name === "message_remove") return data?.n != null ? !this.#own.has(Number(data.n)) : !this.#messages.has(data?.id);
    if (name === "step_update" || name === "step_remove") return isStep(data) && !this.#steps.output(data.id);
    return name === "ask_closed" && !this.questions.has(data?.call);
  }

  /** An answer that only its question can put into words stands where it was given. */
  #keepPlace(n: number, entry: Entry) {
    if (this.#own.has(n)) return true;
    const place = create("article", { hidden: true });
    this.#own.set(n, place);
    this.#place(place, entry);
    return true;
  }

  append(id: string, text: string) {
    this.#grown.set(id, (this.#grown.get(id) ?? "") + text);
    this.#later ??= window.setTimeout(() => {
      this.#later = undefined;
      this.#changed();
    }, this.#next - performance.now());
  }

  #grow() {
    for (const [id, text] of this.#grown) this.#appendNow(id, text);
    this.#grown.clear();
  }

  #appendNow(id: string, text: string) {
    const content = this.#content(id);
    if (!content) return;
    content.hidden = false;
    if (this.#formatting.append(content, text)) return;
    content.dir ||= "auto";
    if (!(content.lastChild instanceof Text)) return content.append(text);
    content.lastChild.appendData(text);
    const { data } = content.lastChild;
    this.#next = performance.now() + Math.min(data.length / LETTERS, RAREST);
  }

  /** @param content so far */
  replace(id: string, content: string) {
    this.#grown.delete(id);
    this.#changed();
    const shown = this.#content(id);
    if (!shown) this.#put({ id, content, streaming: true }, false);
    else if (this.#formatting.append(shown, "")) this.#formatting.show(shown, content, false);
    else shown.textContent = content;
  }

  /** What is not in the log yet. */
  showWaiting(frames: Outgoing[], online: boolean) {
    const state = online ? texts.sending : texts.waiting;
    const words = frames.map((frame) => this.#words(frame.type === "answer" ? "answer" : frame.name, frame.type === "answer" ? frame : frame.data));
    this.#waiting.replaceChildren(...words.flatMap((said) => (said ? [this.#written(said, { waiting: state })] : [])));
    this.questions.update(new Set(frames.flatMap(({ type, call }) => (type === "answer" && call ? [call] : []))));
    this.#resending.offered = this.#resendable() && !frames.some(({ name }) => name === "message");
    this.#actions.update(online, new Set(frames.flatMap(({ name, data }) => (name === "action" ? [data?.id] : []))));
  }

  #showOwn(entry: Entry, n: number) {
    const { name, data } = entry;
    const words = this.#words(name, data);
    if (name === "feedback") this.#feedback.put(data);
    if (name === "answer") this.questions.close(data?.call);
    if (!words) return;
    const element = this.#written(words, { time: data?.created_at });
    const place = this.#own.get(n);
    this.#own.set(n, element);
    if (name === "message") {
      if (this.#branches.take(entry, n, this.#resending.last)) this.#dropReplaced();
      this.#resending.take(entry, n);
    }
    if (place) this.#swap(place, element);
    else this.#place(element, entry);
    this.#resending.attach(this.#own);
  }

  /** The bot has changed what a person wrote. Where no files are named they are as they were. */
  #changeOwn({ n, content, created_at, files }: MessageData & { n?: number }, entry: Entry) {
    const shown = this.#own.get(Number(n));
    const element = this.#written({ text: String(content ?? ""), files }, { time: created_at });
    const kept = files ? null : shown?.querySelector("[part~=files]");
    if (kept) element.append(kept);
    this.#own.set(Number(n), element);
    if (shown) this.#swap(shown, element);
    else this.#place(element, entry);
    this.#resending.attach(this.#own);
  }

  #removeOwn(n: number) {
    this.#own.get(n)?.remove();
    this.#own.delete(n);
  }

  /** What a person said with a frame, or null for what is no talk. */
  #words(name: string | undefined, data: any): Words | null {
    if (name === "answer") return this.questions.words(data);
    if (name !== "message" || typeof data?.content !== "string") return null;
    return { text: data.content, files: Array.isArray(data.files) ? data.files : undefined };
  }

  #written({ text, files }: Words, options: { waiting?: string; time?: string }) {
    return this.#linked(ownArticle(text, { ...options, files: this.#files.list(files) }, options.waiting ? null : copyButton(text, this.#announce)));
  }

  /** @param entry by which it has come; none for the text of a stream */
  #put(data: MessageData, live: boolean, entry?: Entry) {
    const element = this.#message(data);
    const shown = this.#messages.get(data.id);
    if (shown?.parentNode && shown.matches("[part~=streaming]") && this.#finish(shown, element, data)) {
      if (live && !data.streaming) this.#announce(`${shown.querySelector("[part=author]")?.textContent}: ${shown.querySelector("[part=content]")?.textContent}`);
      return;
    }
    this.#messages.set(data.id, element);
    // What was dropped comes back by being sent anew.
    if (shown && (shown.parentNode || entry?.name !== "message")) this.#swap(shown, element);
    else if (entry) this.#place(element, entry);
    else this.#fresh.append(element);
  }

  /** Let a stream be what it has become, and keep the nodes of its text. @returns whether that is possible */
  #finish(shown: HTMLElement, now: HTMLElement, { content, format, streaming }: MessageData): boolean {
    const [kept, other] = [shown, now].map((element) => element.querySelector<HTMLElement>("[part=content]"));
    if (!kept || !other || (format === "markdown") !== this.#formatting.append(kept, "")) return false;
    if (format === "markdown") this.#formatting.show(kept, String(content ?? ""), !streaming);
    else if (kept.textContent !== other.textContent) kept.textContent = other.textContent;
    if (format !== "markdown") this.#linked(shown);
    kept.hidden = other.hidden;
    if (!streaming) kept.removeAttribute("dir");
    for (const child of [...shown.children]) if (child !== kept) child.remove();
    const children = [...now.children];
    const place = children.indexOf(other);
    kept.before(...children.slice(0, place));
    kept.after(...children.slice(place + 1));
    for (const name of ["part", "aria-live", "hidden"]) {
      const value = now.getAttribute(name);
      if (value === null) shown.removeAttribute(name);
      else shown.setAttribute(name, value);
    }
    return true;
  }

  #remove(id: string) {
    this.#messages.get(id)?.remove();
    this.#messages.delete(id);
    this.#actions.forget(id);
  }

  #message({ id, author, content, format, created_at, streaming, type, actions, files, metadata }: MessageData) {
    const kind = metadata?.error === true ? "other error" : "other";
    const element = article(
      {
        author: author || this.#author || texts.assistant,
        text: String(content ?? ""),
        time: created_at,
        kind: streaming ? `${kind} streaming` : kind,
        files: this.#files.list(files),
      },
      content && !streaming ? copyButton(content, this.#announce) : null,
      this.#actions.row(id, actions),
      this.#rated() && !streaming && kind === "other" && type == null ? this.#feedback.row(id) : null,
    );
    element.dataset.id = id;
    if (format === "markdown") this.#formatting.show(element.querySelector("[part=content]")!, String(content ?? ""), !streaming);
    else if (!streaming) this.#linked(element);
    // Such as a stream that was interrupted before its first word.
    element.hidden = !streaming && !content && !files?.length && !actions?.length;
    if (streaming) element.setAttribute("aria-live", "off");
    return element;
  }

  /** Let the addresses in a message lead to where they say. */
  #linked(element: HTMLElement) {
    const content = element.querySelector("[part=content]")!;
    if (/https?:|mailto:/i.test(content.textContent!)) this.#use(({ linkify }) => linkify(content));
    return element;
  }

  #content(id: string): HTMLElement | null | undefined {
    return this.#steps.output(id) ?? this.#messages.get(id)?.querySelector("[part~=content]");
  }
}
