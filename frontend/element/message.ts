/** How one message looks. */
import { create, isolated } from "./dom.ts";
import { dateTime } from "./language.ts";
import { texts } from "./texts.ts";

/** The author of a bot that has not named itself. */
const UNNAMED = "Assistant";

/** A file as the server describes it. */
export type FileInfo = { id: string; name: string; mime: string; size: number };

/**
 * @param message.kind what it is besides a message, as parts of the shadow tree
 * @param below what stands under the text
 */
export function article({ author, text, time, kind = "other", files = null }: { author: string; text: string; time?: string; kind?: string; files?: Node | null }, ...below: (Node | null)[]) {
  const content = create("div", { part: "content" }, text);
  content.hidden = !text && files !== null;
  return create("article", { part: `message ${kind}` }, header(author, time), content, files, ...below);
}

/** What a person wrote. */
export function ownArticle(text: string, { waiting, time, files = null }: { waiting?: string; time?: string; files?: Node | null } = {}, ...below: (Node | null)[]) {
  const element = article({ author: texts.you, text, time, files, kind: waiting ? "own waiting" : "own" }, ...below);
  if (waiting) element.querySelector("header")?.append(create("span", { part: "remark" }, waiting));
  return element;
}

/** A turn that failed. @param data of an `error` entry */
export function failure(data: any) {
  return create("article", { part: "message error", "data-code": data?.code }, create("div", { part: "content" }, data?.detail || texts.failed));
}

function header(author: string, time?: string) {
  const name = author === UNNAMED ? texts.assistant : author;
  return create("header", { part: "message-header" }, isolated(name, "author"), time ? timestamp(time) : null);
}

/** @param text in ISO 8601 */
export function timestamp(text: string) {
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) return null;
  const today = time.toDateString() === new Date().toDateString();
  const year = time.getFullYear() === new Date().getFullYear();
  const day: Intl.DateTimeFormatOptions = today ? {} : { day: "numeric", month: "short", ...(year ? {} : { year: "numeric" }) };
  const words = dateTime(time, { ...day, hour: "numeric", minute: "2-digit" });
  return create("time", { part: "time", datetime: text, title: dateTime(time) }, words);
}
