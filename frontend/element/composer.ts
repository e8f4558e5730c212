/** Where a person writes: the text, and the files that go with it. */
import type { TabStorage } from "../client/tab-storage.ts";
import { Attachments, type Limits, receiveFiles } from "./attachments.ts";
import type { layout } from "./layout.ts";
import type { Replaced } from "./resending.ts";
import { texts } from "./texts.ts";
import type { FileServer } from "./uploads.ts";

export type Parts = ReturnType<typeof layout>;

export interface ComposerHandlers {
  /** Whether it could be; with the number of the message that it is to take the place of */
  send: (text: string, files: string[], replaces?: number) => boolean;
  /** What the tab remembers */
  storage: () => TabStorage | undefined;
  /** An edit has begun, or ended */
  editing: () => void;
  escape: () => boolean;
  notify: (text: string) => void;
  server: () => FileServer | null;
  /** Of files */
  limits: () => Limits;
  /** Where files belong while a question asks for some */
  asked: () => Attachments | null;
}

/** Whether people write on the screen: such keyboards have no Shift+Enter. */
const TOUCH = matchMedia("(pointer: coarse)");

export class Composer {
  #parts;
  #handlers;
  #tray;
  #answering = false;
  #offered = false;
  #placeholder = "";
  #replaced: Replaced | null = null;

  constructor(parts: Pick<Parts, "composer" | "editing" | "editingCancel" | "input" | "inputLabel" | "attach" | "chat">, handlers: ComposerHandlers) {
    this.#parts = parts;
    this.#handlers = handlers;
    const { notify, server, limits } = handlers;
    this.#tray = new Attachments(server, limits, { changed: () => {}, notify });
    parts.composer.prepend(this.#tray.element);
    this.#wire();
  }

  get text() {
    return this.#parts.input.value;
  }

  set text(text) {
    this.#parts.input.value = text;
    this.fit();
  }

  /** Whether a message is changed that was sent before. */
  get editing() {
    return this.#replaced !== null;
  }

  /** Let a person change a message. What they were writing comes back after it. */
  edit(replaced: Replaced) {
    this.#setReplaced(replaced, replaced.text);
    this.#edited();
    this.#parts.input.focus();
  }

  /** Go on with what was being written before the page was loaded: an edit, or else a message. */
  recall() {
    const edit = this.#handlers.storage()?.recall("edit");
    if (typeof edit?.text === "string" && Array.isArray(edit.replaced?.files)) this.#setReplaced(edit.replaced, edit.text);
    else this.text = this.#draft;
  }

  get #draft() {
    return this.#handlers.storage()?.recall("draft") ?? "";
  }

  /** @returns whether there was an edit to give up */
  cancelEdit(): boolean {
    if (!this.editing) return false;
    this.#handlers.storage()?.keep("edit", null);
    this.#setReplaced(null, this.#draft);
    return true;
  }

  #setReplaced(replaced: Replaced | null, text: string) {
    this.#replaced = replaced;
    this.#parts.editing.hidden = !replaced;
    this.#parts.input.setAttribute("aria-describedby", replaced ? "editing hint" : "hint");
    this.text = text;
    this.#handlers.editing();
  }

  /** Whether what is written answers a question, which takes no files. */
  set answering(answering: boolean) {
    this.#answering = answering;
    this.#parts.inputLabel.textContent = answering ? texts.answerLabel : texts.inputLabel;
    this.#label();
  }

  set placeholder(text: string) {
    this.#placeholder = text;
    this.#label();
  }

  /** Whether messages may have files. */
  set files(offered: boolean) {
    this.#offered = offered;
    this.#label();
  }

  /** Put a text that could not be sent below what is being written, or was before an edit. */
  giveBack(text: string) {
    const { input } = this.#parts;
    const written = this.editing ? this.#draft : this.text;
    const added = written ? `\n\n${text}` : text;
    this.#handlers.storage()?.keep("draft", written + added);
    if (this.editing) return;
    input.setRangeText(added, written.length, written.length, written ? "preserve" : "end");
    this.fit();
  }

  /**
   * Another session: files that are here are its own only once they are uploaded anew.
   * @param lost whether nobody has asked for it: then what a message was changed to is a draft
   */
  restart(lost: boolean) {
    const { text } = this;
    if (this.cancelEdit() && lost) this.giveBack(text);
    this.#tray.restart();
  }

  /** Somebody else is here: nothing that is written or attached is theirs. */
  clear() {
    this.cancelEdit();
    this.#tray.clear();
    this.text = "";
  }

  /** As high as the text needs, within what the stylesheet allows. */
  fit() {
    const { input } = this.#parts;
    input.style.height = "auto";
    input.style.height = input.value ? `${input.scrollHeight + input.offsetHeight - input.clientHeight}px` : "";
  }

  #wire() {
    const { composer, editingCancel, input, attach, chat } = this.#parts;
    composer.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("input", () => this.#edited());
    input.addEventListener("focus", () => (input.enterKeyHint = TOUCH.matches ? "enter" : "send"));
    const cancel = () => {
      if (!this.cancelEdit()) return false;
      input.focus();
      return true;
    };
    editingCancel.addEventListener("click", cancel);
    composer.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !event.isComposing && (cancel() || (event.target === input && this.#handlers.escape()))) event.preventDefault();
    });
    attach.addEventListener("click", () => this.#tray.choose());
    receiveFiles(chat, input, () => {
      const asked = this.#handlers.asked();
      return asked || attach.hidden || composer.hidden ? asked : this.#tray;
    });
  }

  #key(event: KeyboardEvent) {
    const composing = event.isComposing || event.keyCode === 229; // an Enter that ends a composition is not ours
    if (event.key !== "Enter" || event.shiftKey || composing || TOUCH.matches) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    const text = this.text;
    const tray = this.#answering ? null : this.#tray;
    const { n, files = [] } = this.#replaced ?? {};
    if (text.trim() || files.length || (tray && !tray.empty)) {
      if (tray?.obstacle) this.#handlers.notify(tray.obstacle);
      else if (this.#handlers.send(text, [...files, ...(tray?.ids ?? [])], n)) {
        tray?.clear();
        if (!this.cancelEdit()) {
          this.text = "";
          this.#edited();
        }
      }
    }
    this.#parts.input.focus();
  }

  #edited() {
    const storage = this.#handlers.storage();
    if (this.#replaced) storage?.keep("edit", { replaced: this.#replaced, text: this.text });
    else if (storage) storage.keep("draft", this.text || null);
    this.fit();
  }

  #label() {
    this.#parts.attach.hidden = !this.#offered || this.#answering;
    this.#tray.element.hidden = this.#tray.empty || this.#answering;
    this.#parts.input.placeholder = this.#answering ? texts.answerPlaceholder : this.#placeholder;
  }
}
