import { ngettext, put, translated, unit } from "./language.ts";

/** Marks a message for `make messages`. Here, where the bundler sees that a text that is not used can go. */
// @__NO_SIDE_EFFECTS__
function gettext(message: string) {
  return message;
}

/** What `<chat-widget>` says. */
const widget = {
  name: gettext("Chat"),
  close: gettext("Close chat"),
  loading: gettext("Loading…"),
  failed: gettext("The chat could not be loaded. Reload the page to try it again."),
  unread: (count: number) => put(ngettext("%(count)s new message", "%(count)s new messages", count), { count }),
};

/** What the element says unless the page assigns something else, or has a catalogue. */
const defaults = {
  you: gettext("You"),
  assistant: gettext("Assistant"),
  inputLabel: gettext("Message"),
  placeholder: gettext("Write a message…"),
  hint: gettext("Enter sends, Shift+Enter starts a new line"),
  answerHint: gettext("Your next message answers the question above"),
  choiceHint: gettext("Choose one of the buttons above; a message waits until then"),
  answerLabel: gettext("Your answer"),
  answerPlaceholder: gettext("Write your answer…"),
  send: gettext("Send"),
  stop: gettext("Stop"),
  working: gettext("Working…"),
  /** How long it has worked */
  elapsed: (seconds: number) =>
    seconds < 60 ? put(gettext("%(seconds)s s"), { seconds }) : put(gettext("%(minutes)s min %(seconds)s s"), { minutes: Math.floor(seconds / 60), seconds: seconds % 60 }),
  progress: gettext("Progress"),
  end: gettext("End chat"),
  endTitle: gettext("End this conversation"),
  endQuestion: gettext("End this conversation? It cannot be continued afterwards."),
  endConfirm: gettext("End it now"),
  endCancel: gettext("Keep talking"),
  log: gettext("Conversation"),
  jump: gettext("Jump to latest"),
  dismiss: gettext("Dismiss"),
  empty: gettext("Nothing here yet. Write the first message below."),
  starters: gettext("Begin with one of these, or write the first message below."),
  sending: gettext("Sending…"),
  waiting: gettext("Waiting for the connection"),
  states: {
    connecting: gettext("Connecting…"),
    online: gettext("Online"),
    offline: gettext("Offline"),
    replaced: gettext("Open elsewhere"),
    ended: gettext("Ended"),
    refused: gettext("Not available"),
    closed: gettext("Closed"),
  },
  reconnecting: gettext("Trying to reconnect…"),
  unreachable: gettext("Cannot connect."),
  offline: gettext("The connection is lost. Your messages are kept and will be sent."),
  retryIn: (seconds: number) => put(gettext("Next try in %(seconds)s\u00a0s."), { seconds }),
  tryNow: gettext("Try now"),
  replaced: gettext("This conversation is open in another tab or on another device."),
  takeOver: gettext("Use it here"),
  endedBy: {
    user: gettext("You have ended this conversation."),
    admin: gettext("This conversation was ended by an administrator."),
    app: gettext("This conversation is finished."),
    expired: gettext("This conversation ended because nobody came back to it for a while."),
    logout: gettext("This conversation ended because you logged out."),
  } as Record<string, string>,
  ended: gettext("This conversation has ended."),
  startNew: gettext("Start a new conversation"),
  /** By close code */
  refusedWith: {
    4502: gettext("You are not allowed to use this chat. You may have to log in first."),
    4504: gettext("You have too many open conversations. End one of them, then try again."),
  } as Record<string, string>,
  refused: gettext("This chat is not available."),
  /** By the server's error code, with close code 4502 */
  refusedFor: {
    unauthorized: gettext("You are not logged in any more. What you have written is kept."),
    forbidden: gettext("You are not allowed to use this chat."),
  } as Record<string, string>,
  loginFirst: gettext("Log in to use this chat."),
  logIn: gettext("Log in"),
  tryAgain: gettext("Try again"),
  /** Why the log begins anew */
  notes: {
    ended: gettext("Your earlier conversation has ended. This is a new one."),
    expired: gettext("Your earlier conversation ended because it was left for a while. This is a new one."),
    unknown: gettext("Your earlier conversation could not be continued. This is a new one."),
    gap: gettext("Earlier messages are no longer available."),
  } as Record<string, string>,
  /** By error code, instead of the server's words */
  notices: {
    rate_limited: gettext("That was a little fast. Your message will be sent in a moment."),
    busy: gettext("There is a lot going on. Your message will be sent in a moment."),
    storage_unavailable: gettext("Your message could not be stored yet. It will be sent again in a moment."),
    call_closed: gettext("That question is no longer open."),
    too_large: gettext("The message is too large."),
    closed: gettext("This conversation cannot go on here."),
    storage_full: gettext("This browser has no room left to keep what is not sent yet. Leave this page open until it is sent."),
  } as Record<string, string>,
  /** By what was sent, for a refusal without words of the server's. */
  actionRefused: gettext("That button is no longer offered."),
  answerRefused: gettext("That answer was not taken. Please try again."),
  failed: gettext("Something went wrong while answering."),

  /** On a block of code */
  copy: gettext("Copy"),
  copied: gettext("Copied"),
  copyMessage: gettext("Copy message"),

  // Thumbs under answers
  thumbs: { up: gettext("Good answer"), down: gettext("Bad answer") },
  comment: gettext("Comment (optional)"),

  // The user's last message, to be sent again
  edit: gettext("Edit"),
  editing: gettext("You are changing your last message"),
  cancelEdit: gettext("Cancel"),

  // Steps on the way to an answer
  step: gettext("Step"),
  stepInput: gettext("Input"),
  stepOutput: gettext("Output"),
  stepStates: {
    running: gettext("Running…"),
    done: gettext("Done"),
    failed: gettext("Failed"),
  },

  // Questions
  choices: gettext("Choices"),
  /** How a question ended without an answer */
  outcomes: {
    timeout: gettext("There was no answer in time."),
    cancelled: gettext("This question was withdrawn."),
  } as Record<string, string>,
  timeLeft: (seconds: number) => {
    const count = Math.ceil(seconds / 60);
    return seconds > 90 ? put(ngettext("%(count)s minute left", "%(count)s minutes left", count), { count }) : put(gettext("%(count)s s left"), { count: seconds });
  },
  timeUp: gettext("Time is up."),

  // Files
  attach: gettext("Attach files"),
  attachments: gettext("Files to send"),
  files: gettext("Files"),
  file: gettext("File"),
  dropHere: gettext("Drop files here"),
  remove: gettext("Remove"),
  removeFile: (name: string) => put(gettext("Remove %(name)s"), { name }),
  uploading: (name: string) => put(gettext("Uploading %(name)s"), { name }),
  chooseFile: gettext("Choose a file"),
  chooseFiles: gettext("Choose files"),
  sendFiles: gettext("Send files"),
  noFileYet: gettext("Choose a file first."),
  noFiles: gettext("This page cannot take files."),
  stillUploading: gettext("Files are still being uploaded. Send when they are there."),
  removeFailed: gettext("A file could not be uploaded. Try it again, or remove it."),
  fileLimits: (count: number | undefined, most: number | undefined) =>
    [
      count && count > 1 ? put(ngettext("At most %(count)s file", "At most %(count)s files", count), { count }) : "",
      most ? put(gettext("up to %(size)s each"), { size: unit(most, "megabyte") }) : "",
    ].filter(Boolean).join(", "),
  tooManyFiles: (count: number) => put(ngettext("Only one file can be sent.", "At most %(count)s files can be sent.", count), { count }),
  wrongType: (name: string) => put(gettext("%(name)s is not a kind of file that is asked for."), { name }),
  fileTooLarge: (name: string, most: number) => put(gettext("%(name)s is larger than %(size)s."), { name, size: unit(most, "megabyte") }),
  uploadFailed: gettext("The file could not be uploaded."),
  uploadNetwork: gettext("The connection was lost."),
  uploadCancelled: gettext("The upload was cancelled."),
  /** By the server's error code; others are told in its own words, or, where it has none, by the HTTP status */
  uploadErrors: {
    413: gettext("The file is too large."),
  } as Record<string, string>,
  download: (name: string) => put(gettext("Download %(name)s"), { name }),
  openFile: gettext("Open in a new tab"),
  downloadFailed: gettext("The file could not be fetched."),

  // Dialogs
  panelsFailed: gettext("This part of the page could not be loaded."),
  close: gettext("Close"),
  save: gettext("Save"),
  saving: gettext("Saving…"),
  settings: gettext("Settings"),
  defaults: gettext("Defaults"),
  notANumber: gettext("This is not a number."),
  notADate: gettext("This is not a date."),
  firstDay: gettext("From"),
  lastDay: gettext("To"),
  bothDays: gettext("Both dates are needed."),
  tagPlaceholder: gettext("Add one, then Enter"),
  removeTag: (name: string) => put(gettext("Remove %(name)s"), { name }),
  keys: gettext("Keys"),
  keysWanted: gettext("Waiting for you"),
  keysNeeded: gettext("This chat needs the following from you before it can begin."),
  keysHint: gettext("Kept in this tab only, until you close it."),
  keysSave: gettext("Save and connect"),
  profiles: gettext("How would you like to begin?"),
  profile: (name: string) => put(gettext("Profile: %(name)s"), { name }),
  profilesFailed: gettext("The profiles could not be loaded."),
  start: gettext("Start"),

  // The conversation as a file
  export: gettext("Export conversation"),

  // Earlier conversations
  threads: gettext("Earlier conversations"),
  newConversation: gettext("New conversation"),
  searchThreads: gettext("Search"),
  loading: gettext("Loading…"),
  noThreads: gettext("There are no earlier conversations."),
  noThreadFound: gettext("Nothing found."),
  threadsFound: (count: number, page: number, pages: number) => {
    const found = put(ngettext("%(count)s conversation", "%(count)s conversations", count), { count });
    return pages > 1 ? put(gettext("%(found)s, page %(page)s of %(pages)s"), { found, page, pages }) : found;
  },
  threadsFailed: gettext("They could not be loaded. You may have to log in."),
  untitled: gettext("Without a title"),
  previousPage: gettext("Newer"),
  nextPage: gettext("Older"),
  earlier: gettext("Earlier in this conversation"),
  earlierStill: gettext("Show earlier messages"),
  earlierFailed: gettext("The earlier messages could not be loaded."),

  widget,
};

/**
 * Every word that `<chat-session>` says. Assign to it before the element is used, for other words.
 *
 * Each built file has a copy of this module. The copies share one object, so that what a page assigns
 * through `texts.js` is what `chat-session.js` says.
 */
export const texts = /* @__PURE__ */ translate(/* @__PURE__ */ shared(defaults));

/** The part of them that stands in the widget's file, which is to be small. */
export const widgetTexts = /* @__PURE__ */ translate((/* @__PURE__ */ shared({ widget })).widget);

/** Say in the page's language what the page has not assigned. */
export function translate<T extends object>(target: T): T {
  for (const [name, text] of Object.entries(target)) {
    if (typeof text === "string") (target as any)[name] = translated(text);
    else if (typeof text === "object") translate(text);
  }
  return target;
}

function shared<T extends object>(own: T): T {
  const realm = (globalThis as Record<symbol, any>);
  const key = Symbol.for("chatsessions.texts");
  return complete((realm[key] ??= {}), own);
}

/** Add what is missing; a file of another release may have begun it. */
function complete(target: any, source: any) {
  for (const [name, value] of Object.entries(source)) {
    target[name] ??= value;
    if (typeof value === "object") complete(target[name], value);
  }
  return target;
}
