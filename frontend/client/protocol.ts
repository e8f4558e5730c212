/** What is known of frames: which refusals are for good, which names can be sent, what a frame stands for. */
import type { Answer, ClientEvent, ClientFrame, ServerEvent, TurnStatus } from "./wire.ts";

/** An `event` or `answer` frame as it goes over the line. */
export type Outgoing = Pick<ClientEvent | Answer, "type" | "n"> & Partial<Pick<ClientEvent, "name"> & Pick<Answer, "call">> & { data: any };

/** What goes over the line. */
export type SentFrame = Exclude<ClientFrame, ClientEvent | Answer> | Outgoing;

/** One entry of the session's log. */
export type Entry = Omit<ServerEvent, "type" | "data"> & { data: any };

/** Refusals that go away by waiting. */
export const RETRY_CODES = new Set(["rate_limited", "busy", "storage_unavailable"]);
/** Refusals of one frame for good: sending it again would only bring the same answer. */
export const FINAL_CODES = new Set(["bad_frame", "too_large", "unauthorized", "forbidden", "call_closed"]);
/** The names of events that the server takes: whole characters, and none that controls anything. */
export const NAME = /^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}$/u;
/** How deep lists and objects may be nested in what is sent. */
export const MAX_DEPTH = 64;

/** What goes into a `hello`, as far as the server can read it. */
export function readable(text: unknown, longest: number) {
  if (typeof text !== "string") return undefined;
  const clean = wellFormed(text);
  return clean === text && [...text].length <= longest && !CONTROLS.test(text) ? text : undefined;
}

/** Half a character is none, in names and in texts. */
export function wellFormed(text: string) {
  return decoder.decode(encoder.encode(text));
}

/** Whether lists and objects are nested deeper than the server reads. */
export function isTooDeep(value: any, left: number = MAX_DEPTH): boolean {
  if (typeof value !== "object" || value === null) return false;
  return left === 0 || Object.values(value).some((inner) => isTooDeep(inner, left - 1));
}

const CONTROLS = /[\x00-\x1f\x7f-\x9f]/;

/** @param turn as `welcome` says it */
export function asTurn(turn: any): TurnStatus | null {
  if (turn === null || turn === undefined) return null;
  return typeof turn === "object" ? { type: "turn", status: "running", ...turn } : { type: "turn", turn, name: "", status: "running" };
}

/** Our own frame, as the log tells it. */
export function asEntry(item: Outgoing, seq: number): Entry {
  if (item.type === "answer") return { seq, n: item.n, name: "answer", data: { call: item.call, data: item.data } };
  return { seq, n: item.n, name: item.name ?? "", data: item.data };
}

/** A copy of a frame as the line will carry it. */
export function copied<T>(frame: T): T {
  return JSON.parse(JSON.stringify(frame), repaired);
}

/** JSON's escape for half a surrogate pair is one that servers refuse. */
function repaired(_key: string, value: any) {
  if (typeof value === "string") return wellFormed(value);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const keys = Object.keys(value);
  return keys.every((key) => wellFormed(key) === key) ? value : Object.fromEntries(keys.map((key) => [wellFormed(key), value[key]]));
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A random UUID, on pages without TLS too. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-a$4-$5");
}
