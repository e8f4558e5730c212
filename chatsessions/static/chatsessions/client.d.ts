// Built by `make page`
/**
 * `connecting`; `online`; `offline`: will try again; `replaced`: the conversation went on in another
 * tab or device; `ended`: it is over; `refused`: the server will not have us; `closed`: by `close()`.
 */
type State = "connecting" | "online" | "offline" | "replaced" | "ended" | "refused" | "closed";
interface StateDetail {
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

/** Time, replaceable in tests. */
/** The clock: milliseconds since some moment, whatever is done to the time of day. */
interface Timers {
    setTimeout: (callback: () => void, delay: number) => any;
    clearTimeout: (timer: any) => void;
    now: () => number;
}

/** What is thrown at who asks for the impossible. */
/** Something that cannot be sent; nothing was queued. `code`: `too_large`, `bad_name`, `bad_call`, `bad_data`, `bad_env` or `closed`. */
declare class ChatClientError extends Error {
    readonly code: string;
    constructor(code: string, message?: string);
}

/** Something for a handler; it is repeated until it is `accepted`. */
interface ClientEvent {
    type: "event";
    /** Counts the session's `event` and `answer` frames, from 1. */
    n: number;
    name: string;
    data: unknown;
}
/** The answer to an `ask` event. */
interface Answer {
    type: "answer";
    /** Counts the session's `event` and `answer` frames, from 1. */
    n: number;
    /** `call` of the question. */
    call: string;
    data: unknown;
}
/** One entry of the session's log. */
interface ServerEvent {
    type: "event";
    seq: number;
    name: string;
    data: unknown;
    /** The turn that emitted it. */
    turn?: number;
    /** The client's own event `n`, met again in a replay. */
    n?: number;
}
/** How the handling of an event goes: `running`, then one of the others. */
interface TurnStatus {
    type: "turn";
    /** The number of the client's event; 0 for the start of the chat. */
    turn: number;
    /** The name of the event; `start` for the start of the chat. */
    name: string;
    status: "running" | "done" | "failed" | "stopped" | "interrupted";
}

/** An `event` or `answer` frame as it goes over the line. */
type Outgoing = Pick<ClientEvent | Answer, "type" | "n"> & Partial<Pick<ClientEvent, "name"> & Pick<Answer, "call">> & {
    data: any;
};
/** One entry of the session's log. */
type Entry = Omit<ServerEvent, "type" | "data"> & {
    data: any;
};

/** Which tab has a session: a duplicate of it has the same storage, and is another one. */

/** What `navigator.locks` can do. */
type Locks = Pick<LockManager, "request">;

/** What a tab remembers across a reload. */

interface Remembered {
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
type Kind = "draft" | "edit" | "env" | "files" | "read" | "relayed";
type TabStorage = ReturnType<typeof tabStorage>;
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
declare function tabStorage(url: string, storage?: Storage | null, { owner: reader, key }?: {
    owner?: string;
    key?: string;
}): {
    /** Who wrote what is here. */
    readonly owner: string | undefined;
    /**
     * What of it is for who is here: `all`; the `session` alone, which was begun without a login and
     * may have been assigned to them meanwhile; or `nothing`.
     */
    readonly access: "all" | "session" | "nothing";
    /** Whether anything is here. */
    readonly empty: boolean;
    /** The server says who is here. @param theirs what is here, whoever wrote it; else it is forgotten */
    belongsTo(owner: string, theirs: boolean): void;
    /** @returns what is not for who is here is left out, but for a session that may be theirs */
    load(): Remembered;
    /** @returns false if there is no room for all that is pending */
    save(remembered: Remembered): boolean;
    /** Values for the handlers that a person gave; nowhere else are they kept. */
    env: Record<string, string>;
    /** What is remembered of a kind. */
    recall(kind: Kind): any;
    /** @param value that JSON can say; `null`: forget */
    keep(kind: Kind, value: any): void;
    /** The page was left, and may be back: what is here is not a duplicate's. */
    leave(): void;
    /** Whether it was left before, and not copied from a page that is still there. */
    arrive(): boolean;
};

interface ChatClientOptions {
    /** The chat profile to ask for */
    profile?: string;
    /** An old thread to go on with */
    thread?: string;
    /** Default: the browser's */
    language?: string;
    /** Values for the handlers; never stored */
    env?: Record<string, string>;
    /** Who is here, as the template tag says it: what another user left in this tab is forgotten at once */
    owner?: string;
    /** With how many messages of a long session to begin that this page does not know: 1 to 1000. Default: all */
    latest?: number;
    /** Which of several chats of one address on this page it is; each has a session of its own */
    key?: string;
    /** Default: `sessionStorage`; `null`: none */
    storage?: Storage | null;
    WebSocket?: typeof WebSocket;
    /** How tabs of one session share its token */
    BroadcastChannel?: typeof BroadcastChannel | null;
    /** By which a duplicate of a tab knows that it is one; default: the browser's */
    locks?: Locks | null;
    /** Where `online`, `pageshow` and `visibilitychange` happen */
    page?: EventTarget | null;
    timers?: Timers;
    random?: () => number;
}
/** How far the server is with something. */
type Turn = Omit<TurnStatus, "type">;
declare class ChatClient extends EventTarget {
    #private;
    /** Where it connects to. */
    readonly url: string;
    /** What this tab remembers of the chat. */
    readonly storage: TabStorage;
    /** @param url of the websocket; a relative one belongs to the page's origin */
    constructor(url: string, options?: ChatClientOptions);
    /** The state and what belongs to it. */
    get state(): StateDetail;
    /** Whether the server has welcomed us, on this page. */
    get reached(): boolean;
    /** The session's id, once there is one. */
    get session(): string | null;
    /** What shows that the session is ours, for what goes beside the line: files. It changes with every connection. */
    get token(): string | null;
    /** What the chat offers its users, by the last `welcome`: `feedback`, … */
    get offers(): readonly string[];
    /** The profile that the session was begun with, or will be. */
    get profile(): string | undefined;
    set profile(name: string | undefined);
    /** The old thread that the session goes on with, if it is not one of its own. */
    get thread(): string | undefined;
    /** Values for the handlers, by their names. */
    get env(): {
        [x: string]: string;
    };
    /** The highest `seq` up to which everything has been reported. */
    get received(): number;
    /** The running turn, the earlier one if there are two, or null. */
    get turn(): Turn | null;
    /** What was sent and is not accepted yet, oldest first. */
    get pending(): Outgoing[];
    /** Connect, or try again at once; where another tab or device has the conversation, take it back. */
    connect(): void;
    /** Hang up. The session goes on, and so can this client: `connect()`. What is over stays over. */
    close(): void;
    /** Give the handlers other values. They are kept in the tab's storage alone, and go with the next connection: now. */
    setEnv(values: Record<string, string>): void;
    /**
     * Begin a new conversation. What the old one has not accepted goes to the new one.
     * @param options an old thread to go on with; another profile
     */
    newSession({ thread, profile }?: {
        thread?: string;
        profile?: string;
    }): void;
    /**
     * Send an event to the session's handlers. It is kept until the server has stored it.
     * @param data anything JSON can say
     * @returns the frame as queued
     * @throws {ChatClientError} if it can never be sent
     */
    send(name: string, data?: any): Outgoing;
    /**
     * Send what a person wrote.
     * @param files ids of files that were uploaded
     * @param replaces the number of their last message, where the chat offers `edits`: this one takes its place
     */
    sendMessage(text: string, files?: string[], replaces?: number): Outgoing;
    /**
     * Answer an `ask` event. Like an event it is kept until the server has stored it.
     * @param data by the kind of the question: `{content}`, `{id}` of an action, `{files}`: ids
     * @returns the frame as queued
     * @throws {ChatClientError} if it can never be sent
     */
    answer(call: string, data: any): Outgoing;
    /** Cancel the running turn. */
    stop(): void;
    /** End the session for good; if the line is down, as soon as it is back, after a reload too. */
    end(): void;
}

export { ChatClient, ChatClientError };
export type { ChatClientOptions, Entry, Outgoing, State, StateDetail };
