/**
 * Files on messages: links that bring them with the session's token. What a browser shows without running anything
 * of it is shown: images, sounds, films, PDFs, short texts.
 */
import { create, isolated } from "./dom.ts";
import { icon } from "./icons.ts";
import type { FileInfo } from "./message.ts";
import type { PanelLoader } from "./panel-loader.ts";
import { texts } from "./texts.ts";
import { type FileServer, THUMBNAIL, isMedia, isRaster, isText, sizeWords } from "./uploads.ts";

/** Bytes up to which a text is shown in its message. */
const EXCERPT = 32 * 1024;
const PDF = "application/pdf";
/** Milliseconds after which the address of a saved file is worth nothing. */
const SAVED = 60_000;

export class Files {
  #server;
  #notify;
  #use;
  /** Addresses of files that are shown */
  #urls: Set<string> = new Set();
  /** What was fetched to be shown, by the file: a message is shown anew when it is sent, and when it has arrived */
  #contents: Map<string, Promise<Blob>> = new Map();
  /** Files that nobody has seen yet */
  #unseen: WeakMap<Element, FileInfo> = new WeakMap();
  #seen = new IntersectionObserver((entries) => this.#see(entries), { rootMargin: "200px" });

  constructor(server: () => FileServer | null, notify: (text: string) => void, use: PanelLoader["use"]) {
    this.#server = server;
    this.#notify = notify;
    this.#use = use;
  }

  /** The files of a message. @param files or their ids */
  list(files: (FileInfo | string)[] | undefined) {
    const server = this.#server();
    if (!Array.isArray(files) || !files.length) return null;
    const known = files.map((file) => server?.describe(file) ?? unnamed(file));
    return create("ul", { part: "files", "aria-label": texts.files }, ...known.map((file) => create("li", {}, this.#link(file))));
  }

  /** Forget what was shown. */
  clear() {
    this.#seen.disconnect();
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls.clear();
    this.#contents.clear();
  }

  #link(file: FileInfo) {
    const server = this.#server();
    const link = create("a", { part: "file", href: server ? server.url(file.id) : null });
    fill(link, file);
    link.addEventListener("click", (event) => {
      if (link.target) return; // it is here
      event.preventDefault();
      void this.#save(file, link);
    });
    if (server && (!file.mime || isShown(file))) {
      this.#unseen.set(link, file);
      this.#seen.observe(link);
    }
    return link;
  }

  async #save(file: FileInfo, link: HTMLElement) {
    const server = this.#server();
    if (!server || link.getAttribute("aria-busy")) return;
    link.setAttribute("aria-busy", "true");
    try {
      const { blob, name } = await server.load(server.url(file.id));
      save(blob, name ?? file.name);
    } catch {
      this.#notify(texts.downloadFailed);
    } finally {
      link.removeAttribute("aria-busy");
    }
  }

  #see(entries: IntersectionObserverEntry[]) {
    for (const { target, isIntersecting } of entries) {
      const file = this.#unseen.get(target);
      if (!isIntersecting || !file) continue;
      this.#seen.unobserve(target);
      this.#unseen.delete(target);
      void this.#look((target as HTMLElement), file);
    }
  }

  /** Somebody sees a file: show what it is. */
  async #look(link: HTMLElement, file: FileInfo) {
    const server = this.#server();
    try {
      if (server && !file.mime) fill(link, Object.assign(file, await server.inquire(file.id)));
      if (server && isShown(file)) await this.#show(link, file, await this.#content(server, file.id));
    } catch {
      // its link is there
    }
  }

  #content(server: FileServer, id: string) {
    let content = this.#contents.get(id);
    if (!content) {
      content = server.load(server.url(id)).then(({ blob }) => blob);
      content.catch(() => this.#contents.delete(id)); // whoever sees it next may have more luck
      this.#contents.set(id, content);
    }
    return content;
  }

  async #show(link: HTMLElement, { mime, name }: FileInfo, bytes: Blob) {
    if (isText(mime)) {
      link.before(create("pre", { part: "file-text", tabindex: "0", "aria-label": name }, await bytes.text()));
      return;
    }
    // Of the type that was looked at, and no other.
    const url = URL.createObjectURL(new Blob([bytes], { type: mime }));
    this.#urls.add(url);
    if (isRaster(mime)) this.#picture(link, url);
    else this.#use(({ pdf, player }) => (mime === PDF ? pdf : player)(link, url, { mime, name }));
  }

  #picture(link: HTMLElement, url: string) {
    const image = create("img", { part: "image", src: url, alt: "" });
    image.addEventListener("error", () => image.remove());
    image.addEventListener("load", () => link.setAttribute("part", "file picture"));
    link.prepend(image);
  }
}

/** As bytes, whatever it says it is: a page among them is saved, not opened. */
export function save(blob: Blob, name: string) {
  const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
  create("a", { href: url, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(url), SAVED);
}

function fill(link: HTMLElement, { name, size }: FileInfo) {
  const words = sizeWords(Number(size));
  link.title = texts.download(name || texts.file);
  link.replaceChildren(icon("file"), isolated(name || texts.file, "file-name"), ...(words ? [create("span", { part: "file-size" }, words)] : []));
}

function isShown({ mime, size }: FileInfo) {
  const type = String(mime ?? "");
  if (isText(type)) return !(size > EXCERPT);
  return (isRaster(type) || isMedia(type) || type === PDF) && !(size > THUMBNAIL);
}

function unnamed(file: FileInfo | string): FileInfo {
  return typeof file === "object" ? file : { id: file, name: texts.file, mime: "", size: 0 };
}
