/** The files of a session, on their way to the server and back. No DOM. */
import type { TabStorage } from "../client/tab-storage.ts";
import { size } from "./language.ts";
import type { FileInfo } from "./message.ts";
import { Requests, UploadError, cancelled } from "./requests.ts";
import { texts } from "./texts.ts";

/** Whose files they are. `ChatClient` is one. */
export interface Owner {
  session: string | null;
  token: string | null;
  state: { state: string };
  storage: TabStorage;
  addEventListener: (type: string, listener: () => void) => void;
  removeEventListener: (type: string, listener: () => void) => void;
}

/** Bytes up to which a file is shown unasked. */
export const THUMBNAIL = 8 * 1024 ** 2;
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

  /** @param base where `chatsessions.urls` is included */
  constructor(base: string, owner: Owner, options: { XMLHttpRequest?: typeof XMLHttpRequest; fetch?: typeof fetch } = {}) {
    this.#owner = owner;
    this.#requests = new Requests(base, owner, options.XMLHttpRequest ?? globalThis.XMLHttpRequest);
    this.#fetch = options.fetch ?? globalThis.fetch?.bind(globalThis);
  }

  /** The address of a file, or of all of them. */
  url(id?: string) {
    return this.#requests.url(`files/${id ? `${encodeURIComponent(id)}/` : ""}`);
  }

  /**
   * Bring a file to the server, in one request, as soon as there is a session.
   * @param progress from 0 to 1
   * @returns `done` fails with `UploadError`
   */
  upload(file: File, progress: (share: number) => void): { done: Promise<FileInfo>; cancel: () => void } {
    const stop = new AbortController();
    const done = this.#online(stop.signal).then(() => this.#send(file, progress, stop.signal));
    return { done, cancel: () => stop.abort() };
  }

  /** A file's content. @param url of one, or of the conversation as a file */
  async load(url: string): Promise<{ blob: Blob; name: string | null }> {
    const response = await this.#get(url, "GET");
    return { blob: await response.blob(), name: fileName(response.headers.get("Content-Disposition")) };
  }

  /** What this tab knows of a file; without a type it knows nothing. @param file or its id */
  describe(file: FileInfo | string): FileInfo {
    if (typeof file === "object" && file) return file;
    return this.#known()[file] ?? { id: file, name: texts.file, mime: "", size: 0 };
  }

  /** Ask the server about a file, as after a reload on another device. */
  async inquire(id: string): Promise<FileInfo> {
    const { headers } = await this.#get(this.url(id), "HEAD");
    const name = fileName(headers.get("Content-Disposition")) ?? texts.file;
    const info = { id, name, mime: headers.get("Content-Type") ?? "application/octet-stream", size: Number(headers.get("Content-Length")) };
    this.#remember(info);
    return info;
  }

  #remember(file: FileInfo) {
    const known = Object.entries({ ...this.#known(), [file.id]: file }).slice(-REMEMBERED);
    this.#owner.storage.keep("files", Object.fromEntries(known));
  }

  #known(): Record<string, FileInfo> {
    return this.#owner.storage.recall("files") ?? {};
  }

  /** Wait until there is a session. */
  #online(signal: AbortSignal) {
    const owner = this.#owner;
    return new Promise((resolve: (value: void) => void, reject) => {
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

  async #send(file: File, progress: (share: number) => void, signal: AbortSignal): Promise<FileInfo> {
    const headers = { "Content-Type": typeOf(file), "X-File-Name": encoded(file.name) };
    const { status, body } = await this.#requests.send("POST", "files/", { body: file, headers, progress: (loaded) => progress(file.size ? loaded / file.size : 1), signal });
    if (status !== 201 && status !== 200) throw new UploadError(body?.error ?? "failed", uploadWords(status, body));
    const info = { id: String(body?.id), name: String(body?.name ?? file.name), mime: String(body?.mime ?? ""), size: Number(body?.size ?? file.size) };
    this.#remember(info);
    return info;
  }

  async #get(url: string, method: "GET" | "HEAD") {
    const response = await this.#requests.twice(() => this.#fetch(url, { method, headers: this.#requests.credentials }));
    if (!response.ok) throw new UploadError("failed", texts.downloadFailed);
    return response;
  }
}

export function isMedia(mime: string) {
  return MEDIA.test(mime);
}

export function isText(mime: string) {
  return TEXT.has(mime);
}

/** Whether a file may be shown as an image. */
export function isRaster(mime: string) {
  return RASTER.has(mime.split(";", 1).join().trim().toLowerCase());
}

/** What `accept` of a question means: for the file picker, and for files that come otherwise. */
export function acceptance(accept: string[] | Record<string, string[]> | undefined) {
  const patterns = Array.isArray(accept) ? accept : Object.entries(accept ?? {}).flatMap(([mime, endings]) => (Array.isArray(endings) && endings.length ? endings : [mime]));
  const given = patterns.map((pattern) => String(pattern).trim().toLowerCase()).filter(Boolean);
  const all = !given.length || given.includes("*/*") || given.includes("*");
  return {
    attribute: all ? "" : given.join(","),
    matches: ({ name, type }: { name: string; type: string }) => all || given.some((pattern) => fits(pattern, name.toLowerCase(), type.toLowerCase())),
  };
}

function fits(pattern: string, name: string, type: string) {
  if (pattern.startsWith(".")) return name.endsWith(pattern);
  if (pattern.endsWith("/*")) return type.startsWith(pattern.slice(0, -1));
  return type === pattern;
}

/** A size in words. */
export function sizeWords(bytes: number) {
  if (!Number.isFinite(bytes) || bytes <= 0) return "";
  return size(bytes);
}

/** The type of a file, unless it is one that a server would read as a form. */
function typeOf({ type }: File) {
  return !type || type.startsWith("multipart/") || type === "application/x-www-form-urlencoded" ? "application/octet-stream" : type;
}

/** A name for a header. Half a character, as some systems let names have, is none. */
function encoded(name: string) {
  return encodeURIComponent(new TextDecoder().decode(new TextEncoder().encode(name)));
}

function uploadWords(status: number, body: any) {
  const told = typeof body?.detail === "string" && body.detail ? body.detail : null;
  return texts.uploadErrors[body?.error] ?? told ?? texts.uploadErrors[String(status)] ?? texts.uploadFailed;
}

/** The name in a `Content-Disposition`. */
export function fileName(header: string | null) {
  const extended = /filename\*\s*=\s*utf-8''([^;]+)/i.exec(header ?? "");
  try {
    if (extended) return decodeURIComponent(extended[1]!.trim());
  } catch {
    // not UTF-8 after all
  }
  return /filename\s*=\s*"((?:[^"\\]|\\.)*)"/i.exec(header ?? "")?.[1]?.replace(/\\(.)/g, "$1") ?? null;
}
