/** Requests of a session's client that bring something to the server, with its token. No DOM. */
import { texts } from "./texts.ts";

export type Answer = { status: number; body: any };

export interface Sending {
  body: Blob;
  headers: Record<string, string>;
  /** In bytes */
  progress: (loaded: number) => void;
  signal: AbortSignal;
}

/** A file that did not get across. `code` is the server's, or `network`, `cancelled`, `failed`. */
export class UploadError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "UploadError";
    this.code = code;
  }
}

export class Requests {
  #base;
  #owner;
  #Request;

  /** @param base where `chatsessions.urls` is included */
  constructor(base: string, owner: { session: string | null; token: string | null }, Request: typeof XMLHttpRequest) {
    this.#base = base.endsWith("/") ? base : `${base}/`;
    this.#owner = owner;
    this.#Request = Request;
  }

  /** The address of what lies below the session's. */
  url(path: string) {
    return `${this.#base}${this.#owner.session}/${path}`;
  }

  /** What shows whose request it is. */
  get credentials() {
    return { Authorization: `Bearer ${this.#owner.token}` };
  }

  /** Ask, and once more if the token has changed meanwhile. */
  async twice<T extends { status: number }>(ask: () => Promise<T>) {
    const token = this.#owner.token;
    const answer = await ask();
    const refused = [401, 403, 404].includes(answer.status);
    return refused && this.#owner.token !== token ? ask() : answer;
  }

  /** Send something that may be large, and tell how far it is. @returns fails with `UploadError` */
  send(method: string, path: string, sending: Sending): Promise<Answer> {
    return this.twice(() => this.#send(method, path, sending));
  }

  #send(method: string, path: string, { body, headers, progress, signal }: Sending): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(cancelled());
      const request = new this.#Request();
      const stop = () => request.abort();
      const settle = (how: () => void) => () => {
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

function parsed(text: string): any {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
