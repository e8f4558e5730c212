/** What is thrown at who asks for the impossible. */

/** Something that cannot be sent; nothing was queued. `code`: `too_large`, `bad_name`, `bad_call`, `bad_data`, `bad_env` or `closed`. */
export class ChatClientError extends Error {
  declare readonly code: string;

  constructor(code: string, message: string = code) {
    super(message);
    this.name = "ChatClientError";
    this.code = code;
  }
}
