/** What `<chat-widget>` says. */
const widget = {
  name: "Chat",
  close: "Close chat",
  loading: "Loading…",
  failed: "The chat could not be loaded. Reload the page to try it again.",
  unread: (count: number) => (count === 1 ? "1 new message" : `${count} new messages`),
};

/** What the element says unless the page assigns something else. */
const defaults = {
  you: "You",
  assistant: "Assistant",
  inputLabel: "Message",
  placeholder: "Write a message…",
  hint: "Enter sends, Shift+Enter starts a new line",
  answerHint: "Your next message answers the question above",
  choiceHint: "Choose one of the buttons above; a message waits until then",
  answerLabel: "Your answer",
  answerPlaceholder: "Write your answer…",
  send: "Send",
  stop: "Stop",
  working: "Working…",
  end: "End chat",
  endTitle: "End this conversation",
  endQuestion: "End this conversation? It cannot be continued afterwards.",
  endConfirm: "End it now",
  endCancel: "Keep talking",
  log: "Conversation",
  jump: "Jump to latest",
  dismiss: "Dismiss",
  empty: "Nothing here yet. Write the first message below.",
  starters: "Begin with one of these, or write the first message below.",
  sending: "Sending…",
  waiting: "Waiting for the connection",
  states: {
    connecting: "Connecting…",
    online: "Online",
    offline: "Offline",
    replaced: "Open elsewhere",
    ended: "Ended",
    refused: "Not available",
    closed: "Closed",
  },
  reconnecting: "Trying to reconnect…",
  unreachable: "Cannot connect.",
  offline: "The connection is lost. Your messages are kept and will be sent.",
  retryIn: (seconds: number) => `Next try in ${seconds}\u00a0s.`,
  tryNow: "Try now",
  replaced: "This conversation is open in another tab or on another device.",
  takeOver: "Use it here",
  endedBy: {
    user: "You have ended this conversation.",
    admin: "This conversation was ended by an administrator.",
    app: "This conversation is finished.",
    expired: "This conversation ended because nobody came back to it for a while.",
    logout: "This conversation ended because you logged out.",
  } as Record<string, string>,
  ended: "This conversation has ended.",
  startNew: "Start a new conversation",
  /** By close code */
  refusedWith: {
    4502: "You are not allowed to use this chat. You may have to log in first.",
    4504: "You have too many open conversations. End one of them, then try again.",
  } as Record<string, string>,
  refused: "This chat is not available.",
  /** By the server's error code, with close code 4502 */
  refusedFor: {
    unauthorized: "You are not logged in any more. What you have written is kept.",
    forbidden: "You are not allowed to use this chat.",
  } as Record<string, string>,
  loginFirst: "Log in to use this chat.",
  logIn: "Log in",
  tryAgain: "Try again",
  /** Why the log begins anew */
  notes: {
    ended: "Your earlier conversation has ended. This is a new one.",
    expired: "Your earlier conversation ended because it was left for a while. This is a new one.",
    unknown: "Your earlier conversation could not be continued. This is a new one.",
    gap: "Earlier messages are no longer available.",
  } as Record<string, string>,
  /** By error code, instead of the server's words */
  notices: {
    rate_limited: "That was a little fast. Your message will be sent in a moment.",
    busy: "There is a lot going on. Your message will be sent in a moment.",
    storage_unavailable: "Your message could not be stored yet. It will be sent again in a moment.",
    call_closed: "That question is no longer open.",
    storage_full: "This browser has no room left to keep what is not sent yet. Leave this page open until it is sent.",
  } as Record<string, string>,
  /** By what was sent, for a refusal without words of the server's. */
  actionRefused: "That button is no longer offered.",
  answerRefused: "That answer was not taken. Please try again.",
  failed: "Something went wrong while answering.",

  /** On a block of code */
  copy: "Copy",
  copied: "Copied",

  // Thumbs under answers
  thumbs: { up: "Good answer", down: "Bad answer" },

  // Steps on the way to an answer
  step: "Step",
  stepInput: "Input",
  stepOutput: "Output",
  stepStates: {
    running: "Running…",
    done: "Done",
    failed: "Failed",
  },

  // Questions
  choices: "Choices",
  /** How a question ended without an answer */
  outcomes: {
    timeout: "There was no answer in time.",
    cancelled: "This question was withdrawn.",
  } as Record<string, string>,
  timeLeft: (seconds: number) => (seconds > 90 ? `${Math.ceil(seconds / 60)} minutes left` : `${seconds} s left`),
  timeUp: "Time is up.",

  // Files
  attach: "Attach files",
  attachments: "Files to send",
  files: "Files",
  file: "File",
  dropHere: "Drop files here",
  remove: "Remove",
  removeFile: (name: string) => `Remove ${name}`,
  uploading: (name: string) => `Uploading ${name}`,
  chooseFile: "Choose a file",
  chooseFiles: "Choose files",
  sendFiles: "Send files",
  noFileYet: "Choose a file first.",
  noFiles: "This page cannot take files.",
  stillUploading: "Files are still being uploaded. Send when they are there.",
  removeFailed: "A file could not be uploaded. Try it again, or remove it.",
  fileLimits: (count: number | undefined, megabytes: number | undefined) =>
    [count && count > 1 ? `At most ${count} files` : "", megabytes ? `up to ${megabytes} MB each` : ""].filter(Boolean).join(", "),
  tooManyFiles: (count: number) => (count === 1 ? "Only one file can be sent." : `At most ${count} files can be sent.`),
  wrongType: (name: string) => `${name} is not a kind of file that is asked for.`,
  fileTooLarge: (name: string, megabytes: number) => `${name} is larger than ${megabytes.toLocaleString([], { maximumFractionDigits: 1 })} MB.`,
  uploadFailed: "The file could not be uploaded.",
  uploadNetwork: "The connection was lost.",
  uploadCancelled: "The upload was cancelled.",
  /** By the server's error code; others are told in its own words, or, where it has none, by the HTTP status */
  uploadErrors: {
    413: "The file is too large.",
  } as Record<string, string>,
  download: (name: string) => `Download ${name}`,
  openFile: "Open in a new tab",
  downloadFailed: "The file could not be fetched.",

  // Dialogs
  close: "Close",
  save: "Save",
  saving: "Saving…",
  settings: "Settings",
  defaults: "Defaults",
  notANumber: "This is not a number.",
  notADate: "This is not a date.",
  firstDay: "From",
  lastDay: "To",
  bothDays: "Both dates are needed.",
  tagPlaceholder: "Add one, then Enter",
  removeTag: (tag: string) => `Remove ${tag}`,
  keys: "Keys",
  keysWanted: "Waiting for you",
  keysNeeded: "This chat needs the following from you before it can begin.",
  keysHint: "Kept in this tab only, until you close it.",
  keysSave: "Save and connect",
  profiles: "How would you like to begin?",
  profile: (name: string) => `Profile: ${name}`,
  profilesFailed: "The profiles could not be loaded.",
  start: "Start",

  // Earlier conversations
  threads: "Earlier conversations",
  newConversation: "New conversation",
  searchThreads: "Search",
  loading: "Loading…",
  noThreads: "There are no earlier conversations.",
  noThreadFound: "Nothing found.",
  threadsFound: (count: number, page: number, pages: number) =>
    `${count} ${count === 1 ? "conversation" : "conversations"}${pages > 1 ? `, page ${page} of ${pages}` : ""}`,
  threadsFailed: "They could not be loaded. You may have to log in.",
  untitled: "Without a title",
  previousPage: "Newer",
  nextPage: "Older",
  earlier: "Earlier in this conversation",
  earlierStill: "Show earlier messages",
  earlierFailed: "The earlier messages could not be loaded.",

  widget,
};

/**
 * Every word that `<chat-session>` says. Assign to it before the element is used, to translate.
 *
 * Each built file has a copy of this module. The copies share one object, so that what a page assigns
 * through `texts.js` is what `chat-session.js` says.
 */
export const texts = /* @__PURE__ */ shared(defaults);

/** The part of them that stands in the widget's file, which is to be small. */
export const widgetTexts = /* @__PURE__ */ shared({ widget }).widget;

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
