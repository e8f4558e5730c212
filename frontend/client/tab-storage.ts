/** What a tab remembers across a reload. */
import type { Outgoing } from "./protocol.ts";

export interface Remembered {
  session: string | null;
  token: string | null;
  /** The number of the next frame */
  next: number;
  /** Frames not yet accepted */
  pending: Outgoing[];
  /** That the session was begun with */
  profile?: string;
  /** That the session goes on with */
  thread?: string;
  /** Whether it is to end as soon as the server can be told */
  ending?: boolean;
}

/** What is kept beside the session and what waits to be sent. */
export type Kind = "draft" | "edit" | "env" | "files" | "read" | "relayed";

/** The ends of the keys, but for that of the owner and that of whether the page was left. */
const PARTS = ["", ":draft", ":edit", ":env", ":files", ":read", ":relayed"];

export type TabStorage = ReturnType<typeof tabStorage>;

/**
 * One tab's memory of one chat, in `sessionStorage`: another tab is another session.
 *
 * It belongs to who wrote it, and is read by nobody else. Its `owner` is a keyed hash that the
 * server makes of a user: empty for somebody who is not logged in, `undefined` while it is not known.
 *
 * A browser may forbid storage, be out of room, or hold something that is not ours: then the chat
 * works all the same, and only a reload forgets.
 * @param options who is here, if the page knows; which of several chats of one address it is
 */
export function tabStorage(url: string, storage: Storage | null = browserStorage(), { owner: reader, key = "" }: { owner?: string; key?: string } = {}) {
  const prefix = `chatsessions:${url}${key && `#${key}`}`;

  const read = (part: string): string | null => {
    try {
      return storage?.getItem(prefix + part) ?? null;
    } catch {
      return null;
    }
  };

  const write = (part: string, value: string) => {
    try {
      if (value) storage?.setItem(prefix + part, value);
      else storage?.removeItem(prefix + part);
      return true;
    } catch {
      return false;
    }
  };

  const forget = () => [...PARTS, ":owner"].forEach((part) => write(part, ""));

  /** Who is here writes: what somebody else has written is gone. */
  const claim = () => {
    if (reader !== undefined) memory.belongsTo(reader, false);
  };

  const memory = {
    /** Who wrote what is here. */
    get owner(): string | undefined {
      const owner = json(read(":owner"));
      return typeof owner === "string" ? owner : undefined;
    },

    /**
     * What of it is for who is here: `all`; the `session` alone, which was begun without a login and
     * may have been assigned to them meanwhile; or `nothing`.
     */
    get access(): "all" | "session" | "nothing" {
      if (reader === undefined || reader === memory.owner) return "all";
      return memory.owner ? "nothing" : "session";
    },

    /** Whether anything is here. */
    get empty() {
      return PARTS.every((part) => read(part) === null);
    },

    /** The server says who is here. @param theirs what is here, whoever wrote it; else it is forgotten */
    belongsTo(owner: string, theirs: boolean) {
      reader = owner;
      if (memory.owner === owner) return;
      if (!theirs) forget();
      write(":owner", JSON.stringify(owner));
    },

    /** @returns what is not for who is here is left out, but for a session that may be theirs */
    load(): Remembered {
      const value = memory.access === "nothing" ? null : json(read(""));
      const pending = Array.isArray(value?.pending) ? value.pending.filter(isOutgoing) : [];
      const known = typeof value?.session === "string" && typeof value.token === "string";
      return { session: null, token: null, ...(known && value), next: isNumber(value?.next) ? value.next : 1, pending };
    },

    /** @returns false if there is no room for all that is pending */
    save(remembered: Remembered) {
      if (!storage) return true;
      claim();
      if (write("", JSON.stringify(remembered))) return true;
      // Without room for everything, the way back into the session matters most.
      write("", JSON.stringify({ ...remembered, pending: [] }));
      return !remembered.pending.length;
    },

    /** Values for the handlers that a person gave; nowhere else are they kept. */
    get env(): Record<string, string> {
      return Object.fromEntries(Object.entries<any>(memory.recall("env") ?? {}).filter(([, text]) => typeof text === "string"));
    },

    set env(values) {
      memory.keep("env", values);
    },

    /** What is remembered of a kind. */
    recall(kind: Kind): any {
      return memory.access === "all" ? json(read(`:${kind}`)) : null;
    },

    /** @param value that JSON can say; `null`: forget */
    keep(kind: Kind, value: any) {
      claim();
      write(`:${kind}`, value === null ? "" : JSON.stringify(value));
    },

    /** The page was left, and may be back: what is here is not a duplicate's. */
    leave() {
      write(":left", "1");
    },

    /** Whether it was left before, and not copied from a page that is still there. */
    arrive() {
      const left = read(":left") !== null;
      write(":left", "");
      return left;
    },
  };

  // Of somebody who is logged out the rest may still come back; another user is another person.
  if (reader && memory.owner && memory.owner !== reader) forget();
  return memory;
}

function browserStorage(): Storage | null {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null; // forbidden, as in a sandboxed frame
  }
}

/** @returns what it says, or null if it is not ours */
function json(text: string | null): any {
  try {
    return text && JSON.parse(text);
  } catch {
    return null;
  }
}

function isOutgoing(item: any) {
  return isNumber(item?.n) && typeof (item.call ?? item.name) === "string";
}

function isNumber(value: any) {
  return Number.isInteger(value) && value > 0;
}

/** The websocket address that belongs to an address of the page. */
export function websocketUrl(url: string, base: string = globalThis.document?.baseURI) {
  const resolved = new URL(url, base);
  resolved.protocol = resolved.protocol.replace(/^http/, "ws");
  resolved.hash = "";
  return resolved.href;
}
