/** How long things may take, and how much of them there may be. */

/** Milliseconds for the way from the first byte to `welcome`: at the first attempt. They double with every failure, up to `LONGEST_RETRY`. */
export const WELCOME_TIMEOUT = 10_000;
/** Milliseconds that a connection must hold to count as a success. */
export const SETTLED_AFTER = 5_000;
/** Milliseconds to wait before the next attempt: at most after the first failure, and after many. The longest is the longest patience for a `welcome`, too. */
export const FIRST_RETRY = 500;
export const LONGEST_RETRY = 30_000;

/** Milliseconds for an answer to a ping, at most. */
export const MAX_PONG_WAIT = 10_000;
/** Seconds of silence that are announced while the page is hidden: browsers then run timers once a minute. */
export const HIDDEN_SILENCE = 75;

/** Milliseconds without `accepted` before everything unaccepted is sent again. */
export const RESEND_AFTER = 5_000;
/** How many frames may be on their way, if the server does not say: what it lets wait for its turn. */
export const WINDOW = 100;
/** How many are, at most: behind one that is refused, all are sent again. */
export const MAX_WINDOW = 32;
/** How many events may go at once after a while without any. */
export const SAVED = 32;
/** A server is sent a little less than it can take, so that it need not refuse. */
export const MARGIN = 1.03;
/** How deep lists and objects may be nested in what is sent. */
export const MAX_DEPTH = 64;

/** Milliseconds between acknowledgements while something arrives, and entries that bring one at once. */
export const ACK_EVERY = 1_000;
export const ACK_ENTRIES = 32;

/** How much may wait to be sent and still be written down with every change; what is more is, every so many milliseconds. */
export const SAVED_AT_ONCE = 50;
export const SAVE_EVERY = 2_000;

/** Milliseconds to wait for a session's lock: for the page before this one, which has left but may not be gone; for any other; and when the server says that it is ours. */
export const GOING = 5_000;
export const STAYING = 300;
export const KEEPING = 5_000;
