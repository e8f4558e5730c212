/** Requests of a session's client that bring something to the server, with its token. No DOM. */
import { texts } from "./texts.js";

/** @typedef {{status: number, body: any}} Answer */

/**
 * @typedef {object} Sending
 * @property {Blob} body
 * @property {Record<string, string>} headers
 * @property {(loaded: number) => void} progress in bytes
 * @property {AbortSignal} signal
 */

/** A file that did not get across. `code` is the server's, or `network`, `cancelled`, `failed`. */
export class UploadError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = "UploadError";
    this.code = code;
  }
}

export class Requests {
  #base;
  #owner;
  #Request;

  /** @param {string} base where `chatsessions.urls` is included @param {{session: string | null, token: string | null}} owner @param {typeof XMLHttpRequest} Request */
  constructor(base, owner, Request) {
    this.#base = base.endsWith("/") ? base : `${base}/`;
    this.#owner = owner;
    this.#Request = Request;
  }

  /** The address of what lies below the session's. @param {string} path */
  url(path) {
    return `${this.#base}${this.#owner.session}/${path}`;
  }

  /** What shows whose request it is. */
  get credentials() {
    return { Authorization: `Bearer ${this.#owner.token}` };
  }

  /**
   * Ask, and once more if the token has changed meanwhile.
   * @template {{status: number}} T
   * @param {() => Promise<T>} ask
   */
  async twice(ask) {
    const token = this.#owner.token;
    const answer = await ask();
    const refused = [401, 403, 404].includes(answer.status);
    return refused && this.#owner.token !== token ? ask() : answer;
  }

  /**
   * Send something that may be large, and tell how far it is.
   * @param {string} method @param {string} path @param {Sending} sending
   * @returns {Promise<Answer>} fails with `UploadError`
   */
  send(method, path, sending) {
    return this.twice(() => this.#send(method, path, sending));
  }

  /** @param {string} method @param {string} path @param {Sending} sending @returns {Promise<Answer>} */
  #send(method, path, { body, headers, progress, signal }) {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelled());
      const request = new this.#Request();
      const stop = () => request.abort();
      const settle = (/** @type {() => void} */ how) => () => {
        signal.removeEventListener("abort", stop);
        how();
      };
      request.open(method, this.url(path));
      request.responseType = "text";
      for (const [name, value] of Object.entries({ ...headers, ...this.credentials, Accept: "application/json" })) request.setRequestHeader(name, value);
      request.upload.onprogress = ({ loaded }) => progress(loaded);
      request.onload = settle(() => resolve({ status: request.status, body: parsed(request.responseText) }));
      request.onerror = settle(() => reject(new UploadError("network", texts.uploadNetwork)));
      request.onabort = settle(() => reject(cancelled()));
      signal.addEventListener("abort", stop);
      request.send(body);
    });
  }
}

/** Somebody does not want it any more. */
export function cancelled() {
  return new UploadError("cancelled", texts.uploadCancelled);
}

/** @param {string} text @returns {any} */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
