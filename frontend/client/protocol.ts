/** What is known of frames: which refusals are for good, which names can be sent, what a frame stands for. */
import { MAX_DEPTH } from "./limits.ts";
import type { Answer, ClientEvent, ClientFrame, ServerEvent } from "./wire.ts";

/** An `event` or `answer` frame as it goes over the line. */
export type Outgoing = Pick<ClientEvent | Answer, "type" | "n"> & Partial<Pick<ClientEvent, "name"> & Pick<Answer, "call">> & { data: any };

/** What goes over the line. */
export type SentFrame = Exclude<ClientFrame, ClientEvent | Answer> | Outgoing;

/** One entry of the session's log. */
export type Entry = Omit<ServerEvent, "type" | "data"> & { data: any };

/** Refusals that go away by waiting. */
export const RETRY_CODES = ["rate_limited", "busy", "storage_unavailable"];
/**
 * Refusals of one frame for good: sending it again would only bring the same answer. `call_closed` is
 * no refusal: an answer that comes too late has its place in the log all the same.
 */
export const FINAL_CODES = ["bad_frame", "too_large", "unauthorized", "forbidden"];

/** A text that the server takes as a name: of whole characters, none of which controls anything. @returns `undefined` for any other */
export function readable(text: unknown, longest: number) {
  return typeof text === "string" && /^[^\p{Cc}\p{Cs}]+$/u.test(text) && [...text].length <= longest ? text : undefined;
}

/** Whether lists and objects are nested deeper than the server reads. */
export function isTooDeep(value: any, left: number = MAX_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return false;
  return left === 0 || Object.values(value).some((inner) => isTooDeep(inner, left - 1));
}

/** Our own frame, as the log tells it. */
export function asEntry({ n, name = "answer", call, data }: Outgoing, logSeq: number): Entry {
  return { seq: logSeq, n, name, data: call === undefined ? data : { call, data } };
}

/** A copy as the line will carry it. JSON's escape for half a surrogate pair is one that servers refuse. */
export function copied<T>(value: T): T {
  return JSON.parse(JSON.stringify(value).replace(/\\(ud[89a-f]..|.)/g, (escape, code) => (code[1] ? "\ufffd" : escape)));
}

/** A random UUID in hexadecimal, on pages without TLS too. */
export function uuid() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
