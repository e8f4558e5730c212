/** The files of a session, on their way to the server and back. No DOM. */
import { Requests, UploadError, cancelled } from "./requests.js";
import { texts } from "./texts.js";

/** @typedef {import("./message.js").FileInfo} FileInfo */

/**
 * Whose files they are. `ChatClient` is one.
 * @typedef {object} Owner
 * @property {string | null} session
 * @property {string | null} token
 * @property {{state: string}} state
 * @property {import("./storage.js").Memory} memory
 * @property {(type: string, listener: () => void) => void} addEventListener
 * @property {(type: string, listener: () => void) => void} removeEventListener
 */

/** How many files' names a tab remembers. */
const REMEMBERED = 200;
/** What an image may be to be shown as one: pixels, and nothing that could be a page. */
const RASTER = new Set(["image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp"]);
/** What may be a sound or a film. */
const MEDIA = /^(audio|video)\/[a-z0-9][a-z0-9.+-]*$/;
/** What may be shown as text, to the letter. */
const TEXT = new Set(["text/plain", "text/csv", "text/markdown", "application/json"]);

export class FileServer {
  #owner;
  #requests;
  #fetch;

  /**
   * @param {string} base where `chatsessions.urls` is included
   * @param {Owner} owner
   * @param {{XMLHttpRequest?: typeof XMLHttpRequest, fetch?: typeof fetch}} [options]
   */
  constructor(base, owner, options = {}) {
    this.#owner = owner;
    this.#requests = new Requests(base, owner, options.XMLHttpRequest ?? globalThis.XMLHttpRequest);
    this.#fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
  }

  /** The address of a file, or of all of them. @param {string} [id] */
  url(id) {
    return this.#requests.url(`files/${id ? `${encodeURIComponent(id)}/` : ""}`);
  }

  /**
   * Bring a file to the server, in one request, as soon as there is a session.
   * @param {File} file
   * @param {(share: number) => void} progress from 0 to 1
   * @returns {{done: Promise<FileInfo>, cancel: () => void}} `done` fails with `UploadError`
   */
  upload(file, progress) {
    const stop = new AbortController();
    const done = this.#online(stop.signal).then(() => this.#send(file, progress, stop.signal));
    return { done, cancel: () => stop.abort() };
  }

  /** A file's content. @param {string} id @returns {Promise<{blob: Blob, name: string | null}>} */
  async load(id) {
    const response = await this.#get(id, "GET");
    return { blob: await response.blob(), name: fileName(response.headers.get("Content-Disposition")) };
  }

  /** What this tab knows of a file; without a type it knows nothing. @param {FileInfo | string} file or its id @returns {FileInfo} */
  describe(file) {
    if (typeof file === "object" && file) return file;
    return this.#known()[file] ?? { id: file, name: texts.file, mime: "", size: 0 };
  }

  /** Ask the server about a file, as after a reload on another device. @param {string} id @returns {Promise<FileInfo>} */
  async inquire(id) {
    const { headers } = await this.#get(id, "HEAD");
    const name = fileName(headers.get("Content-Disposition")) ?? texts.file;
    const info = { id, name, mime: headers.get("Content-Type") ?? "application/octet-stream", size: Number(headers.get("Content-Length")) };
    this.#remember(info);
    return info;
  }

  /** @param {FileInfo} file */
  #remember(file) {
    const known = Object.entries({ ...this.#known(), [file.id]: file }).slice(-REMEMBERED);
    this.#owner.memory.keep("files", Object.fromEntries(known));
  }

  /** @returns {Record<string, FileInfo>} */
  #known() {
    return this.#owner.memory.recall("files") ?? {};
  }

  /** Wait until there is a session. @param {AbortSignal} signal */
  #online(signal) {
    const owner = this.#owner;
    return new Promise((/** @type {(value: void) => void} */ resolve, reject) => {
      const check = () => {
        if (signal.aborted) reject(cancelled());
        else if (owner.state.state !== "online") return;
        else resolve();
        owner.removeEventListener("state", check);
        signal.removeEventListener("abort", check);
      };
      signal.addEventListener("abort", check);
      owner.addEventListener("state", check);
      check();
    });
  }

  /** @param {File} file @param {(share: number) => void} progress @param {AbortSignal} signal @returns {Promise<FileInfo>} */
  async #send(file, progress, signal) {
    const headers = { "Content-Type": typeOf(file), "X-File-Name": encoded(file.name) };
    const { status, body } = await this.#requests.send("POST", "files/", { body: file, headers, progress: (loaded) => progress(file.size ? loaded / file.size : 1), signal });
    if (status !== 201 && status !== 200) throw new UploadError(body?.error ?? "failed", uploadWords(status, body));
    const info = { id: String(body?.id), name: String(body?.name ?? file.name), mime: String(body?.mime ?? ""), size: Number(body?.size ?? file.size) };
    this.#remember(info);
    return info;
  }

  /** @param {string} id @param {"GET" | "HEAD"} method */
  async #get(id, method) {
    const response = await this.#requests.twice(() => this.#fetch(this.url(id), { method, headers: this.#requests.credentials }));
    if (!response.ok) throw new UploadError("failed", texts.downloadFailed);
    return response;
  }
}

/** @param {string} mime */
export function isMedia(mime) {
  return MEDIA.test(mime);
}

/** @param {string} mime */
export function isText(mime) {
  return TEXT.has(mime);
}

/** Whether a file may be shown as an image. @param {string} mime */
export function isRaster(mime) {
  return RASTER.has(mime.split(";")[0].trim().toLowerCase());
}

/**
 * What `accept` of a question means: for the file picker, and for files that come otherwise.
 * @param {string[] | Record<string, string[]> | undefined} accept
 */
export function acceptance(accept) {
  const patterns = Array.isArray(accept) ? accept : Object.entries(accept ?? {}).flatMap(([mime, endings]) => (Array.isArray(endings) && endings.length ? endings : [mime]));
  const given = patterns.map((pattern) => String(pattern).trim().toLowerCase()).filter(Boolean);
  const all = !given.length || given.includes("*/*") || given.includes("*");
  return {
    attribute: all ? "" : given.join(","),
    /** @param {{name: string, type: string}} file */
    matches: ({ name, type }) => all || given.some((pattern) => fits(pattern, name.toLowerCase(), type.toLowerCase())),
  };
}

/** @param {string} pattern @param {string} name @param {string} type */
function fits(pattern, name, type) {
  if (pattern.startsWith(".")) return name.endsWith(pattern);
  if (pattern.endsWith("/*")) return type.startsWith(pattern.slice(0, -1));
  return type === pattern;
}

/** A size in words. @param {number} bytes */
export function sizeWords(bytes) {
  if (!Number.isFinite(bytes) || bytes <= 0) return "";
  const step = bytes < 1000 ? 0 : bytes < 999_500 ? 1 : 2;
  const value = bytes / 1000 ** step;
  return `${value.toLocaleString([], { maximumFractionDigits: value < 10 && step ? 1 : 0 })} ${["B", "kB", "MB"][step]}`;
}

/** The type of a file, unless it is one that a server would read as a form. @param {File} file */
function typeOf({ type }) {
  return !type || type.startsWith("multipart/") || type === "application/x-www-form-urlencoded" ? "application/octet-stream" : type;
}

/** A name for a header. Half a character, as some systems let names have, is none. @param {string} name */
function encoded(name) {
  return encodeURIComponent(new TextDecoder().decode(new TextEncoder().encode(name)));
}

/** @param {number} status @param {any} body */
function uploadWords(status, body) {
  const told = typeof body?.detail === "string" && body.detail ? body.detail : null;
  return texts.uploadErrors[body?.error] ?? told ?? texts.uploadErrors[String(status)] ?? texts.uploadFailed;
}

/** The name in a `Content-Disposition`. @param {string | null} header */
export function fileName(header) {
  const extended = /filename\*\s*=\s*utf-8''([^;]+)/i.exec(header ?? "");
  try {
    if (extended) return decodeURIComponent(extended[1].trim());
  } catch {
    // not UTF-8 after all
  }
  return /filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(header ?? "")?.[1].replace(/\\(.)/g, "$1") ?? null;
}
