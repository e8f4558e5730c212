/** A file on its way up in slices: one after another, each as often as it takes. No DOM. */
import { Backoff } from "./backoff.js";

/** Bytes of a file that one request brings, as the server takes them by default. */
export const SLICE = 4 * 1024 ** 2;
/** Tries in a row that come to nothing, after which a person is asked. */
const TRIES = 6;
/** Milliseconds after which to ask again whether the slices are put together. */
const JOINING = 1000;

/** @typedef {import("./requests.js").Answer} Answer */

/**
 * What an upload needs of who brings it. A path is below that of all uploads.
 * @typedef {object} Carrier
 * @property {(method: string, path: string, body: Blob | string | null, progress?: (loaded: number) => void) => Promise<Answer>} ask fails with `code` `network` if nothing is heard
 * @property {(milliseconds: number) => Promise<void>} pause
 */

export class SlicedUpload {
  /** What the server calls it; empty before it has begun. */
  id = "";
  #file;
  #offset = 0;
  #slice = SLICE;
  #backoff = new Backoff({ cap: 10_000 });

  /** @param {File} file @param {string | null} session whose it is */
  constructor(file, session) {
    this.#file = file;
    this.session = session;
  }

  /**
   * Bring the file up, from where it was.
   * @param {Carrier} carrier
   * @param {(share: number) => void} progress from 0 to 1
   * @returns {Promise<Answer>} the file, or what the server says instead
   */
  async run(carrier, progress) {
    for (let again = false; ; again = true) {
      const answer = await this.#run(carrier, progress);
      if (answer.status !== 404 || !this.id || again) return answer;
      this.id = ""; // the server has given it up: from the beginning, once
    }
  }

  /** @param {Carrier} carrier @param {(share: number) => void} progress */
  async #run(carrier, progress) {
    const begun = this.id ? null : await this.#begin(carrier);
    if (begun && begun.status !== 201) return begun;
    for (;;) {
      const answer = await (this.#offset < this.#file.size ? this.#bring(carrier, progress) : this.#finish(carrier));
      const { offset } = answer.body ?? {};
      if (![200, 202, 409].includes(answer.status) || !Number.isInteger(offset)) return answer;
      if (answer.status === 202) await carrier.pause(JOINING);
      else if (offset !== this.#offset) this.#backoff.reset();
      else if (!(await this.#another(carrier))) return answer;
      this.#offset = offset;
    }
  }

  /** @param {Carrier} carrier */
  async #begin(carrier) {
    const { name, type, size } = this.#file;
    const answer = await this.#ask(carrier, "POST", "", JSON.stringify({ name, mime: type, size }));
    if (answer.status === 201) {
      this.id = String(answer.body?.upload);
      this.#offset = 0;
      this.#slice = Number(answer.body?.slice) || SLICE;
    }
    return answer;
  }

  /** @param {Carrier} carrier @param {(share: number) => void} progress */
  #bring(carrier, progress) {
    const offset = this.#offset;
    const { size } = this.#file;
    const slice = this.#file.slice(offset, offset + this.#slice);
    return this.#ask(carrier, "PUT", `${this.id}/?offset=${offset}`, slice, (loaded) => progress((offset + loaded) / size));
  }

  /** @param {Carrier} carrier */
  #finish(carrier) {
    return this.#ask(carrier, "POST", `${this.id}/`, null);
  }

  /**
   * Ask until there is an answer: whatever is asked here may be asked twice.
   * @param {Carrier} carrier @param {string} method @param {string} path @param {Blob | string | null} body @param {(loaded: number) => void} [progress]
   * @returns {Promise<Answer>}
   */
  async #ask(carrier, method, path, body, progress) {
    for (;;) {
      let failure = null;
      const answer = await carrier.ask(method, path, body, progress).catch((error) => {
        if (error?.code !== "network") throw error;
        failure = error;
        return null;
      });
      if (answer && answer.status < 500 && answer.status !== 429) return answer;
      if (await this.#another(carrier)) continue;
      if (!answer) throw failure;
      return answer;
    }
  }

  /** Wait for another try; false if there were enough. @param {Carrier} carrier */
  async #another(carrier) {
    if (this.#backoff.attempt >= TRIES) {
      this.#backoff.reset(); // for when a person tries again
      return false;
    }
    await carrier.pause(this.#backoff.next());
    return true;
  }
}
