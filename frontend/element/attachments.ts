/** The files that a person has chosen, until they are sent. */
import { button, create, isolated } from "./dom.ts";
import { icon } from "./icons.ts";
import type { FileInfo } from "./message.ts";
import { UploadError } from "./requests.ts";
import { texts } from "./texts.ts";
import { type FileServer, THUMBNAIL, acceptance, isRaster, sizeWords } from "./uploads.ts";

export interface Limits {
  accept?: string[] | Record<string, string[]>;
  maxFiles?: number;
  maxMegabytes?: number;
}

export type Item = { file: File; element: HTMLElement; state: HTMLElement; again: HTMLElement; info: FileInfo | null; error: string; cancel: () => void };

/** Signs of a name in a sentence. */
const LONGEST = 40;

export class Attachments {
  #server;
  #limits;
  #changed;
  #notify;
  #picker = create("input", { type: "file" });
  #items: Item[] = [];
  element = create("ul", { part: "attachments", "aria-label": texts.attachments, hidden: true });

  constructor(server: () => FileServer | null, limits: () => Limits, { changed, notify }: { changed: () => void; notify: (text: string) => void }) {
    this.#server = server;
    this.#limits = limits;
    this.#changed = changed;
    this.#notify = notify;
    this.#picker.addEventListener("change", () => {
      this.add([...(this.#picker.files ?? [])]);
      this.#picker.value = "";
    });
  }

  /** Of the files that are on the server. */
  get ids() {
    return this.#items.flatMap(({ info }) => (info ? [info.id] : []));
  }

  get empty() {
    return !this.#items.length;
  }

  /** Why they cannot be sent yet, if so. */
  get obstacle() {
    if (this.#items.some(({ error }) => error)) return texts.removeFailed;
    return this.#items.some(({ info }) => !info) ? texts.stillUploading : "";
  }

  /** Let a person choose some. */
  choose() {
    const { accept, maxFiles = 2 } = this.#limits();
    this.#picker.accept = acceptance(accept).attribute;
    this.#picker.multiple = maxFiles > 1;
    this.#picker.click();
  }

  /** What failed makes way for a new choice, and so does the one file where one is asked for. */
  add(files: File[]) {
    const { maxFiles } = this.#limits();
    const before = [...this.#items].sort((a, b) => Number(Boolean(b.error)) - Number(Boolean(a.error)));
    for (const file of files) {
      const objection = this.#objection(file);
      const full = Boolean(maxFiles && this.#items.length >= maxFiles);
      const old = full && !objection && (before[0]?.error || maxFiles === 1) ? before.shift() : undefined;
      if (old) this.#drop(old);
      if (objection) this.#notify(objection);
      else if (full && !old) this.#notify(texts.tooManyFiles(maxFiles ?? 0));
      else this.#begin(file);
    }
    this.#moved();
  }

  /** They were sent. */
  clear() {
    for (const item of this.#items) item.cancel();
    this.#items = [];
    this.element.replaceChildren();
    this.#moved();
  }

  /** Another session: it knows none of them. */
  restart() {
    for (const item of this.#items) this.#upload(item);
  }

  #objection(file: File) {
    const { accept, maxMegabytes } = this.#limits();
    if (!acceptance(accept).matches(file)) return texts.wrongType(quoted(file.name));
    if (maxMegabytes && file.size > maxMegabytes * 1024 ** 2) return texts.fileTooLarge(quoted(file.name), maxMegabytes);
    return "";
  }

  #begin(file: File) {
    const state = create("span", { part: "attachment-state", role: "status" });
    const again = button("attachment-again", texts.tryAgain, () => this.#again(item), { hidden: true });
    const remove = button("attachment-remove", "", () => this.#remove(item), { "aria-label": texts.removeFile(file.name), title: texts.remove });
    remove.append(icon("x"));
    const element = create("li", { part: "attachment" }, thumbnail(file), isolated(file.name, "file-name"), state, again, remove);
    const item: Item = { file, element, state, again, info: null, error: "", cancel: () => {} };
    this.#items.push(item);
    this.element.append(element);
    this.#upload(item);
  }

  /** From the beginning. */
  #again(item: Item) {
    item.cancel = () => {};
    this.#upload(item);
  }

  #upload(item: Item) {
    item.cancel();
    item.info = null;
    item.error = "";
    item.again.hidden = true;
    item.element.removeAttribute("data-failed");
    const server = this.#server();
    if (!server) return this.#failed(item, texts.uploadFailed);
    const bar = create("progress", { part: "progress", max: "1", value: "0", "aria-label": texts.uploading(item.file.name) });
    item.state.replaceChildren(bar);
    const { done, cancel } = server.upload(item.file, (share) => (bar.value = share));
    item.cancel = cancel;
    const current = () => item.cancel === cancel;
    done.then((info) => current() && this.#done(item, info), (error) => current() && this.#failed(item, error));
    this.#moved();
  }

  #done(item: Item, info: FileInfo) {
    item.info = info;
    item.state.textContent = sizeWords(info.size);
    this.#moved();
  }

  #failed(item: Item, error: unknown) {
    item.error = error instanceof UploadError ? error.message : texts.uploadFailed;
    item.state.textContent = item.error;
    item.again.hidden = false;
    item.element.setAttribute("data-failed", "");
    this.#moved();
  }

  /** @returns where it was */
  #drop(item: Item): number {
    const index = this.#items.indexOf(item);
    item.cancel();
    this.#items.splice(index, 1);
    item.element.remove();
    return index;
  }

  #remove(item: Item) {
    const index = this.#drop(item);
    this.#moved();
    const next = this.#items[index] ?? this.#items[index - 1];
    (next?.element.querySelector("[part=attachment-remove]") as HTMLElement | null | undefined)?.focus();
  }

  #moved() {
    this.element.hidden = this.empty;
    this.#changed();
  }
}

/** The picture that a file is, once the browser has read it; until then, and of other files, the sign for any. */
function thumbnail(file: File) {
  const sign = icon("file");
  if (!isRaster(file.type) || file.size > THUMBNAIL) return sign;
  const image = create("img", { part: "thumbnail", alt: "", src: URL.createObjectURL(file) });
  image.decode().then(() => sign.replaceWith(image), () => {}).finally(() => URL.revokeObjectURL(image.src));
  return sign;
}

/** A name in the middle of a sentence: not too long, and not turning it around. */
function quoted(name: string) {
  const short = name.length > LONGEST ? `${name.slice(0, LONGEST - 12)}…${name.slice(-11)}` : name;
  return `\u2068${short}\u2069`;
}

/** Files that are dropped on an element or pasted into a field. @param taker whose they are, if anybody's */
export function receiveFiles(element: HTMLElement, field: HTMLElement, taker: () => Attachments | null) {
  let depth = 0; // of the elements that the pointer has entered
  const over = (event: DragEvent) => Boolean(event.dataTransfer?.types.includes("Files") && taker());
  const mark = (entered: number) => {
    depth = entered;
    element.toggleAttribute("data-dropping", depth > 0);
  };
  element.addEventListener("dragenter", (event) => over(event) && mark(depth + 1));
  element.addEventListener("dragleave", () => mark(Math.max(0, depth - 1)));
  element.addEventListener("dragover", (event) => over(event) && event.preventDefault());
  element.addEventListener("drop", (event) => {
    mark(0);
    if (!over(event)) return;
    event.preventDefault();
    taker()?.add([...(event.dataTransfer?.files ?? [])]);
  });
  field.addEventListener("paste", (event) => {
    const { files, types } = event.clipboardData ?? {};
    // A table is copied as text and as a picture: who writes means the text.
    if (!files?.length || types?.includes("text/plain") || !taker()) return;
    event.preventDefault();
    taker()?.add([...files]);
  });
}
