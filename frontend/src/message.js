/** How one message looks. */
import { create, isolated } from "./dom.js";
import { texts } from "./texts.js";

/**
 * A file as the server describes it.
 * @typedef {{id: string, name: string, mime: string, size: number}} FileInfo
 */

/**
 * @param {object} message
 * @param {string} message.author
 * @param {string} message.text
 * @param {string} [message.time]
 * @param {string} [message.kind] what it is besides a message, as parts of the shadow tree
 * @param {Node | null} [message.files]
 * @param {(Node | null)[]} below what stands under the text
 */
export function article({ author, text, time, kind = "other", files = null }, ...below) {
  const content = create("div", { part: "content" }, text);
  content.hidden = !text && files !== null;
  return create("article", { part: `message ${kind}` }, header(author, time), content, files, ...below);
}

/**
 * What a person wrote.
 * @param {string} text
 * @param {{waiting?: string, time?: string, files?: Node | null}} [options]
 */
export function ownArticle(text, { waiting, time, files = null } = {}) {
  const element = article({ author: texts.you, text, time, files, kind: waiting ? "own waiting" : "own" });
  if (waiting) element.querySelector("header")?.append(create("span", { part: "remark" }, waiting));
  return element;
}

/** A turn that failed. @param {any} data of an `error` entry */
export function failure(data) {
  return create("article", { part: "message error", "data-code": data?.code }, create("div", { part: "content" }, data?.detail || texts.failed));
}

/** @param {string} author @param {string} [time] */
function header(author, time) {
  return create("header", { part: "message-header" }, isolated(author, "author"), time ? timestamp(time) : null);
}

/** @param {string} text in ISO 8601 */
export function timestamp(text) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  const today = time.toDateString() === new Date().toDateString();
  const year = time.getFullYear() === new Date().getFullYear();
  /** @type {Intl.DateTimeFormatOptions} */
  const day = today ? {} : { day: "numeric", month: "short", ...(year ? {} : { year: "numeric" }) };
  const words = time.toLocaleString([], { ...day, hour: "numeric", minute: "2-digit" });
  return create("time", { part: "time", datetime: text, title: time.toLocaleString() }, words);
}
