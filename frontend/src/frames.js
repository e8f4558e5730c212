/** What is known of frames: which refusals are for good, which names can be sent, what a frame stands for. */

/** @typedef {import("./connection.js").Frame} Frame */
/** @typedef {import("./delivery.js").Entry} Entry */
/** @typedef {import("./delivery.js").Outgoing} Outgoing */

/** Refusals that go away by waiting. */
export const RETRY_CODES = new Set(["rate_limited", "busy", "storage_unavailable"]);
/** Refusals of one frame for good: sending it again would only bring the same answer. */
export const FINAL_CODES = new Set(["bad_frame", "too_large", "unauthorized", "forbidden", "call_closed"]);
/** The names of events that the server takes. */
export const NAME = /^[^\x00-\x1f\x7f]{1,100}$/;

/** @param {any} turn as `welcome` says it @returns {Frame | null} */
export function asTurn(turn) {
  if (turn === null || turn === undefined) return null;
  return typeof turn === "object" ? { type: "turn", status: "running", ...turn } : { type: "turn", turn, name: "", status: "running" };
}

/** Our own frame, as the log tells it. @param {Outgoing} item @param {number} seq @returns {Entry} */
export function asEntry(item, seq) {
  if (item.type === "answer") return { seq, n: item.n, name: "answer", data: { call: item.call, data: item.data } };
  return { seq, n: item.n, name: item.name ?? "", data: item.data };
}

/** A copy of a frame as the line will carry it. @template T @param {T} frame @returns {T} */
export function copied(frame) {
  return JSON.parse(JSON.stringify(frame, wellFormed));
}

/** JSON's escape for half a surrogate pair is one that servers refuse. @param {string} _key @param {any} value */
function wellFormed(_key, value) {
  return typeof value === "string" ? decoder.decode(encoder.encode(value)) : value;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** A random UUID, on pages without TLS too. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
