// The frames of chatsessions.v1, written from the server's classes by `make wire`.

/** What a client sends, one in each message. */
export type ClientFrame = Hello | ClientEvent | Answer | Stop | Ack | End | Ping;

/** What the server sends. */
export type ServerFrame = Welcome | ServerEvent | Accepted | TurnStatus | Token | Stream | Error | Ended | Pong;

/** Several frames in one message, for a client that takes bundles. */
export type ServerBundle = ServerFrame[];

/** The first frame of a connection: a new session, or one to be resumed. */
export interface Hello {
  type: "hello";
  /** The session to resume. */
  session?: string | null;
  /** The session's token, of the last `welcome`. */
  token?: string | null;
  /** The highest `seq` that the client has applied; 0 asks for the whole kept log. */
  received?: number;
  /** The thread to go on with, if no session is resumed. */
  thread?: string | null;
  /** For a new session, one of the profiles that the chat offers. */
  profile?: string | null;
  client_type?: string;
  /** By default the first of `Accept-Language`. */
  language?: string | null;
  /** Secrets of the client's own, which the server keeps in memory only. */
  env?: Record<string, string> | null;
  /** The owner of what the client sends, as it knows it: `owner` of an earlier `welcome`. */
  owner?: string | null;
  /** Whether the client takes several frames in one message. */
  bundles?: boolean;
  /** A client that has nothing yet begins with so many messages, the latest. */
  latest?: number | null;
}

/** Something for a handler; it is repeated until it is `accepted`. */
export interface ClientEvent {
  type: "event";
  /** Counts the session's `event` and `answer` frames, from 1. */
  n: number;
  name: string;
  data: unknown;
}

/** The answer to an `ask` event. */
export interface Answer {
  type: "answer";
  /** Counts the session's `event` and `answer` frames, from 1. */
  n: number;
  /** `call` of the question. */
  call: string;
  data: unknown;
}

/** Cancel the running turn. */
export interface Stop {
  type: "stop";
}

/** Everything up to `seq` has been applied. */
export interface Ack {
  type: "ack";
  seq: number;
}

/** The user ends the session for good. */
export interface End {
  type: "end";
}

/** Is the connection alive? Answered by `pong`. `silence`: for how many seconds from now on the client may send nothing. A browser runs the timers of a page that nobody looks at once a minute. */
export interface Ping {
  type: "ping";
  silence?: number;
}

/** The answer to `hello`. */
export interface Welcome {
  type: "welcome";
  session: string;
  /** Brings the client back to the session; each `welcome` has a new one. */
  token: string;
  resumed: boolean;
  /** Why no session was resumed; null if one was. */
  reason: "new" | "unknown" | "ended" | "expired" | null;
  /** The highest `n` that is durably accepted. */
  received: number;
  /** The first entry of the kept log; 1 if it is empty. */
  first: number;
  /** The last entry of the log; 0 if it is empty. */
  head: number;
  /** The turn that runs. */
  turn: number | null;
  /** After how many silent seconds the client pings. */
  heartbeat: number;
  /** The largest frame that the server takes, in bytes. */
  max_frame: number;
  /** How many unaccepted events the client may have on the wire; left out by older servers. */
  window?: number;
  /** Numbers above this one belong to events that came by HTTP; left out if there are none. */
  yours?: number;
  /** A keyed hash of the connection's user; empty for somebody who is not logged in. */
  owner?: string;
  /** What the chat offers beside messages; left out if that is nothing. */
  offers?: string[];
  /** To a client that begins with the latest messages: the first entry of the kept log, of which those before `first` are fetched by HTTP. */
  earlier?: number;
  /** With `earlier`: the entries before `first` that still hold, as `settings`. */
  state?: ServerEvent[];
}

/** One entry of the session's log. */
export interface ServerEvent {
  type: "event";
  seq: number;
  name: string;
  data: unknown;
  /** The turn that emitted it. */
  turn?: number;
  /** The client's own event `n`, met again in a replay. */
  n?: number;
}

/** Event `n` is stored, and need never be sent again. */
export interface Accepted {
  type: "accepted";
  n: number;
  /** The entry that it is; 0 if that is no longer kept. */
  seq: number;
}

/** How the handling of an event goes: `running`, then one of the others. */
export interface TurnStatus {
  type: "turn";
  /** The number of the client's event; 0 for the start of the chat. */
  turn: number;
  /** The name of the event; `start` for the start of the chat. */
  name: string;
  status: "running" | "done" | "failed" | "stopped" | "interrupted";
}

/** A piece of a message or step that is being streamed. */
export interface Token {
  type: "token";
  /** The id of the message or step. */
  message: string;
  /** 0, 1, 2, … */
  index: number;
  text: string;
}

/** The text so far of a message or step that is being streamed. */
export interface Stream {
  type: "stream";
  /** The id of the message or step. */
  message: string;
  /** That of the next `token`. */
  index: number;
  content: string;
}

/** Something was refused; the connection stays open unless a close follows. */
export interface Error {
  type: "error";
  code: string;
  detail: string;
  /** The event that was refused; with `n_gap` the one that is expected. */
  n?: number;
  /** In seconds. */
  retry_after?: number;
  /** In answer to a `hello` that named another owner: whose the connection is. */
  owner?: string;
}

/** The session is over; a close follows. */
export interface Ended {
  type: "ended";
  reason: "user" | "admin" | "app" | "expired" | "logout";
}

/** The connection is alive. */
export interface Pong {
  type: "pong";
  /** The last entry of the log. */
  head: number;
}

/** What the user says. */
export interface UserMessageData {
  content: string;
  /** Chosen by the client; the server makes one where it is left out. */
  id?: string | null;
  /** The ids of files that were uploaded. */
  files?: string[] | null;
  /** The number of the user's last message, which this one takes the place of. */
  replaces?: number | null;
}

/** The action that the user has chosen, as it was offered. */
export interface ChosenActionData {
  id: string;
  name: string;
  payload?: Record<string, unknown>;
}

/** What the user thinks of an answer. */
export interface GivenFeedbackData {
  /** The id of the message. */
  message: string;
  /** Null takes it back. */
  value: "down" | "up" | null;
  comment?: string;
}

/** A message of the server. While `streaming` is true, tokens are added to its content. */
export interface ServerMessageData {
  id: string;
  author: string;
  content: string;
  created_at: string;
  streaming: boolean;
  /** Left out, it is the assistant's. */
  type?: "user_message" | "system_message";
  /** How the content is to be read; left out, it is plain text. */
  format?: "markdown";
  metadata?: Record<string, unknown>;
  actions?: ActionData[];
  files?: FileData[];
}

/** A button. `payload` comes back when it is chosen. */
export interface ActionData {
  id: string;
  name: string;
  payload: Record<string, unknown>;
  label: string;
  tooltip: string;
  icon: string | null;
}

/** A file of a message; it is fetched by its id. `size` is in bytes. */
export interface FileData {
  id: string;
  name: string;
  mime: string;
  size: number;
}

/** A message as it is now, all of it. */
export interface MessageUpdateData {
  id: string;
  author: string;
  content: string;
  created_at: string;
  streaming: boolean;
  /** Left out, it is the assistant's. */
  type?: "user_message" | "system_message";
  /** How the content is to be read; left out, it is plain text. */
  format?: "markdown";
  metadata?: Record<string, unknown>;
  actions?: ActionData[];
  /** Those that a client has sent with its message may be told by their ids alone. */
  files?: (string | FileData)[];
  /** The number of the client's event that is changed; left out, it is the server's message. */
  n?: number;
}

/** The message that is removed. */
export interface MessageRemoveData {
  id: string;
  /** The number of the client's event that is removed; left out, it is the server's message. */
  n?: number;
}

/** What a bot does on its way. While `streaming` is true, tokens are added to its output. */
export interface StepEventData {
  id: string;
  name: string;
  type: string;
  input: string;
  output: string;
  start: string;
  streaming: boolean;
  /** How the output is to be read; left out, it is plain text. */
  format?: "markdown";
  /** The id of the step that it is part of. */
  parent?: string;
  error?: string;
  metadata?: Record<string, unknown>;
  end?: string;
}

/** The step that is removed. */
export interface StepRemoveData {
  id: string;
}

/** A question; an `answer` frame with its `call` answers it. */
export interface AskData {
  call: string;
  /** `text`, `action`, `files`, or a kind of the application's own. */
  kind: string;
  /** When nobody waits any more; null for as long as the session lives. */
  deadline: string | null;
  /** In seconds. */
  timeout: number | null;
  content?: string;
  /** How the content is to be read; left out, it is plain text. */
  format?: "markdown";
  author?: string;
  /** What may be chosen, of the kind `action`. */
  actions?: ActionData[];
  /** Types and extensions of files, of the kind `files`; or types with their extensions. */
  accept?: string[] | Record<string, string[]>;
  max_files?: number;
  max_size_mb?: number;
}

/** A question that nobody waits for any more. */
export interface AskClosedData {
  call: string;
  outcome: "answered" | "timeout" | "cancelled";
}

/** What may be adjusted. A client leaves out inputs of a type that it does not know. */
export interface SettingsFormData {
  inputs: Input[];
}

/** Messages that the user may begin with, in an empty conversation. */
export interface StartersData {
  starters: StarterData[];
}

/** A message that the user may begin with, by a button. */
export interface StarterData {
  label: string;
  message: string;
  icon?: string | null;
}

/** A turn that has failed, or that a crash cut short. */
export interface FailureData {
  code: "handler_error" | "no_handler" | "interrupted";
  detail: string;
}

/** The answer to a question, as the log has it. It came as a frame of its own. */
export interface GivenAnswerData {
  call: string;
  data: unknown;
}

/** One of `values`, or of the values of `items` (labels to values). */
export interface Select {
  type: "select";
  values?: string[] | null;
  items?: Record<string, string> | null;
  /** The initial choice, by its index or by its value; the index wins. */
  initial_index?: number | null;
  initial_value?: string | null;
  id: string;
  label: string;
  initial?: unknown;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A `Select` that shows all choices on the page. */
export interface RadioGroup {
  type: "radio";
  values?: string[] | null;
  items?: Record<string, string> | null;
  /** The initial choice, by its index or by its value; the index wins. */
  initial_index?: number | null;
  initial_value?: string | null;
  id: string;
  label: string;
  initial?: unknown;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** Any of `values`, or of the values of `items` (labels to values). */
export interface MultiSelect {
  type: "multiselect";
  initial?: string[];
  values?: string[] | null;
  items?: Record<string, string> | null;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A number from `min` to `max`. */
export interface Slider {
  type: "slider";
  initial?: number;
  min?: number;
  max?: number;
  step?: number;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A number, or None. */
export interface NumberInput {
  type: "numberinput";
  initial?: number | null;
  placeholder?: string | null;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** On or off. */
export interface Switch {
  type: "switch";
  initial?: boolean;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A `Switch` with another look. */
export interface Checkbox {
  type: "checkbox";
  initial?: boolean;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A text of at most `MAX_TEXT` characters. */
export interface TextInput {
  type: "textinput";
  initial?: string | null;
  placeholder?: string | null;
  multiline?: boolean;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A list of words; `values` are offered, and others may be written. */
export interface Tags {
  type: "tags";
  initial?: string[];
  values?: string[];
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A day, as `"2026-05-01"` or None; in the mode `range` the first and the last, in a list. `initial`, `min_date` and `max_date` may be a `datetime.date` too. The page writes days as the reader's browser does; `format` is for a page of your own. */
export interface DatePicker {
  type: "datepicker";
  initial?: unknown;
  mode?: "range" | "single";
  min_date?: unknown;
  max_date?: unknown;
  format?: string | null;
  placeholder?: string | null;
  id: string;
  label: string;
  tooltip?: string | null;
  description?: string | null;
  disabled?: boolean | null;
}

/** A group of inputs, which the page shows behind a tab. It has no value of its own. */
export interface Tab {
  type: "tab";
  id: string;
  label: string;
  inputs?: (Select | RadioGroup | MultiSelect | Slider | NumberInput | Switch | Checkbox | TextInput | Tags | DatePicker)[];
}

export type Input = Select | RadioGroup | MultiSelect | Slider | NumberInput | Switch | Checkbox | TextInput | Tags | DatePicker | Tab;

/** The data of the client's events whose names have a meaning. */
export interface ClientEventData {
  message: UserMessageData;
  action: ChosenActionData;
  feedback: GivenFeedbackData;
  settings: Record<string, unknown>;
}

/** The data of the server's events whose names have a meaning. */
export interface ServerEventData {
  message: ServerMessageData;
  message_update: MessageUpdateData;
  message_remove: MessageRemoveData;
  step: StepEventData;
  step_update: StepEventData;
  step_remove: StepRemoveData;
  ask: AskData;
  ask_closed: AskClosedData;
  settings: Record<string, unknown>;
  settings_form: SettingsFormData;
  starters: StartersData;
  error: FailureData;
}
