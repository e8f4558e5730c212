/** Files on messages: links that bring them with the session's token, and images as images. */
import { create, isolated } from "./dom.js";
import { icon } from "./icons.js";
import { texts } from "./texts.js";
import { isRaster, sizeWords } from "./uploads.js";

/** @typedef {import("./uploads.js").FileServer} FileServer */
/** @typedef {import("./message.js").FileInfo} FileInfo */

/** Bytes up to which an image is fetched unasked. */
const THUMBNAIL = 8 * 1024 ** 2;
/** Milliseconds after which the address of a saved file is worth nothing. */
const SAVED = 60_000;

export class Files {
  #server;
  #notify;
  /** @type {Set<string>} addresses of images that are shown */
  #urls = new Set();
  /** @type {WeakMap<Element, FileInfo>} images that nobody has seen yet */
  #unseen = new WeakMap();
  #seen = new IntersectionObserver((entries) => this.#see(entries), { rootMargin: "200px" });

  /** @param {() => FileServer | null} server @param {(text: string) => void} notify */
  constructor(server, notify) {
    this.#server = server;
    this.#notify = notify;
  }

  /** The files of a message. @param {(FileInfo | string)[] | undefined} files or their ids */
  list(files) {
    const server = this.#server();
    if (!Array.isArray(files) || !files.length) return null;
    const known = files.map((file) => server?.describe(file) ?? unnamed(file));
    return create("ul", { part: "files", "aria-label": texts.files }, ...known.map((file) => create("li", {}, this.#link(file))));
  }

  /** Forget the images that were shown. */
  clear() {
    this.#seen.disconnect();
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls.clear();
  }

  /** @param {FileInfo} file */
  #link(file) {
    const server = this.#server();
    const link = create("a", { part: "file", href: server ? server.url(file.id) : null });
    fill(link, file);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      void this.#save(file, link);
    });
    if (server && (!file.mime || isPicture(file))) {
      this.#unseen.set(link, file);
      this.#seen.observe(link);
    }
    return link;
  }

  /** @param {FileInfo} file @param {HTMLElement} link */
  async #save(file, link) {
    const server = this.#server();
    if (!server || link.getAttribute("aria-busy")) return;
    link.setAttribute("aria-busy", "true");
    try {
      const { blob, name } = await server.load(file.id);
      // As bytes, whatever it says it is: a page among them is saved, not opened.
      const url = URL.createObjectURL(new Blob([blob], { type: "application/octet-stream" }));
      create("a", { href: url, download: name ?? file.name }).click();
      window.setTimeout(() => URL.revokeObjectURL(url), SAVED);
    } catch {
      this.#notify(texts.downloadFailed);
    } finally {
      link.removeAttribute("aria-busy");
    }
  }

  /** @param {IntersectionObserverEntry[]} entries */
  #see(entries) {
    for (const { target, isIntersecting } of entries) {
      const file = this.#unseen.get(target);
      if (!isIntersecting || !file) continue;
      this.#seen.unobserve(target);
      this.#unseen.delete(target);
      void this.#look(/** @type {HTMLElement} */ (target), file);
    }
  }

  /** Somebody sees a file: show what it is. @param {HTMLElement} link @param {FileInfo} file */
  async #look(link, file) {
    const server = this.#server();
    try {
      if (server && !file.mime) fill(link, Object.assign(file, await server.inquire(file.id)));
      if (server && isPicture(file)) this.#picture(link, new Blob([(await server.load(file.id)).blob], { type: file.mime }));
    } catch {
      // its link is there
    }
  }

  /** @param {HTMLElement} link @param {Blob} blob */
  #picture(link, blob) {
    const url = URL.createObjectURL(blob);
    this.#urls.add(url);
    const image = create("img", { part: "image", src: url, alt: "" });
    image.addEventListener("error", () => image.remove());
    image.addEventListener("load", () => link.setAttribute("part", "file picture"));
    link.prepend(image);
  }
}

/** @param {HTMLElement} link @param {FileInfo} file */
function fill(link, { name, size }) {
  const words = sizeWords(Number(size));
  link.title = texts.download(name || texts.file);
  link.replaceChildren(icon("file"), isolated(name || texts.file, "file-name"), ...(words ? [create("span", { part: "file-size" }, words)] : []));
}

/** @param {FileInfo} file */
function isPicture({ mime, size }) {
  return isRaster(String(mime ?? "")) && !(size > THUMBNAIL);
}

/** @param {FileInfo | string} file @returns {FileInfo} */
function unnamed(file) {
  return typeof file === "object" ? file : { id: file, name: texts.file, mime: "", size: 0 };
}
