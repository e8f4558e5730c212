/**
 * The states of a session's line as a pure function: a state and what has happened give the next state, and
 * what is to be done. `ChatClient` does it, and tells its listeners when all of it is done.
 */
import { backoff } from "./delivery/backoff.ts";

/**
 * `connecting`; `online`; `offline`: will try again; `replaced`: the conversation went on in another
 * tab or device; `ended`: it is over; `refused`: the server will not have us; `closed`: by `close()`.
 */
export type State = "connecting" | "online" | "offline" | "replaced" | "ended" | "refused" | "closed";

export interface StateDetail {
  state: State;
  /** How many attempts have failed in a row. */
  attempt: number;
  /** Seconds until the next attempt (`offline`). */
  retryIn?: number;
  /** Why it ended, or the server's error code (`ended`, `refused`; `offline`, if it gave one). */
  reason?: string;
  /** The server's words for it (`refused`, `offline`). */
  detail?: string;
  /** The close code. */
  code?: number;
}

/** An error frame's code and words. */
export type LineError = Pick<StateDetail, "reason" | "detail">;

export interface Line {
  /** What listeners are told. */
  readonly told: StateDetail;
  /** How many attempts have failed since one held. */
  readonly attempt: number;
  /** Whether the server has welcomed this connection. */
  readonly welcomed: boolean;
  /** Whether the session is to end as soon as the server can be told. */
  readonly ending: boolean;
  /** The last error of this connection: the reason for a close that may follow. */
  readonly error: LineError | null;
}

export type Input =
  | { type: "connect" | "redial" | "restart" | "close" | "end" | "settled" | "woke" | "dropped" | "offline" }
  | { type: "welcomed"; resumed: boolean }
  | { type: "error"; error: LineError }
  | { type: "closed"; code: number; anew?: boolean }
  | { type: "ended"; reason?: string }
  | { type: "failed"; detail: string };

export type Effect =
  /** Hear what the page and other tabs say, if that is not so already. */
  | "listen"
  | "unlisten"
  /** Leave the connection, whatever its state, with all that runs on its behalf. */
  | "hangUp"
  | "dial"
  /** Ask whether the connection still lives. */
  | "probe"
  /** Tell the server that the session is to end. */
  | "end"
  /** Nothing runs any more. */
  | "idle"
  /** Dial after `retryIn`. */
  | "retry";

export const CLOSED = tell({ attempt: 0, ending: false, error: null }, "closed");

/** @param chance a random number from 0 to 1, for the wait before the next attempt */
export function step(line: Line, input: Input, chance: number): [Line, Effect[]] {
  const { state } = line.told;
  const live = state === "connecting" || state === "online";
  switch (input.type) {
    case "connect":
      return live ? [line, []] : dial(line);
    case "redial":
      return dial(line);
    case "restart":
      return dial({ ...line, attempt: 0, ending: false });
    case "close":
      // What is over stays over: an element that comes back shows it, and begins nothing.
      return [isFinal(state) ? line : tell(line, "closed"), ["hangUp", "unlisten"]];
    case "end":
      return [{ ...line, ending: true }, line.welcomed ? ["end"] : []];
    case "welcomed": {
      const ending = line.ending && input.resumed;
      return [{ ...tell(line, "online"), welcomed: true, ending }, ending ? ["end"] : []];
    }
    case "settled":
      return [{ ...line, attempt: 0 }, []];
    case "error":
      return [{ ...line, error: input.error }, []];
    case "woke":
      return state === "offline" ? dial(line) : [line, ["probe"]];
    case "offline":
      return live ? retry(line, chance) : [line, []];
    case "dropped":
      return retry(line, chance);
    case "closed":
      return closed(line, input, chance);
    case "ended":
      return over(line, "ended", { reason: input.reason });
    case "failed":
      return over(line, "refused", { detail: input.detail });
  }
}

/** Whether nothing can be sent. */
export function isFinal(state: State) {
  return state === "replaced" || state === "ended" || state === "refused";
}

function closed(line: Line, { code, anew }: Input & { type: "closed" }, chance: number): [Line, Effect[]] {
  const { error, welcomed } = line;
  if (anew || code < 4500 || code > 4999) return retry(line, chance, { code, ...(anew || welcomed ? {} : error) });
  return over(line, code === 4509 ? "replaced" : code === 4503 ? "ended" : "refused", { code, ...error });
}

function dial(line: Line): [Line, Effect[]] {
  const { state, reason, detail } = line.told;
  const next = tell(line, "connecting", state === "offline" && reason ? { reason, detail } : {});
  return [{ ...next, error: null }, ["listen", "hangUp", "dial"]];
}

function retry(line: Line, chance: number, rest: Partial<StateDetail> = {}): [Line, Effect[]] {
  const next = { ...line, attempt: line.attempt + 1 };
  return [tell(next, "offline", { retryIn: backoff(line.attempt, chance) / 1000, ...rest }), ["hangUp", "retry"]];
}

function over(line: Line, state: State, rest: Partial<StateDetail>): [Line, Effect[]] {
  const ended = state === "ended";
  return [tell({ ...line, ending: line.ending && !ended }, state, rest), ended ? ["hangUp", "idle"] : ["hangUp"]];
}

/** No connection of this state is welcomed, but the one that `welcomed` tells of. */
function tell(line: Pick<Line, "attempt" | "ending" | "error">, state: State, rest: Partial<StateDetail> = {}): Line {
  return { ...line, welcomed: false, told: { state, attempt: line.attempt, ...rest } };
}
