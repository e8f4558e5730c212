/**
 * What opens beside a conversation, or stands in its place or above it: settings, keys, profiles, earlier
 * conversations and messages, exports; and of messages what few have: links, comments, players. A page
 * loads this with the first of them that it needs.
 */
/// <reference path="../css.d.ts" />
import look from "./panels.css";
import type { ChatClient, Entry } from "../../client/client.ts";
import type { Formatting } from "../formatting.ts";
import type { layout } from "../layout.ts";
import type { FileServer } from "../uploads.ts";
import { commentForm } from "./comment.ts";
import { Earlier } from "./earlier.ts";
import { EnvForm } from "./env.ts";
import { Export } from "./export.ts";
import { linkify } from "./links.ts";
import { pdf, player } from "./media.ts";
import { Older } from "./older.ts";
import { profileChoice } from "./profiles.ts";
import { Settings } from "./settings.ts";
import { Threads } from "./threads.ts";

export { equip } from "./kit.ts";

export interface PanelHandlers {
  client: () => ChatClient | null;
  /** Where `chatsessions.urls` is included */
  api: () => string | null;
  /** Where files are */
  server: () => FileServer | null;
  /** An attribute of the element */
  attribute: (name: string) => string | null;
  /** Put something above what the reader sees */
  insert: (change: () => void) => void;
  /** Show earlier entries. @param more whether there are some before them */
  prepend: (entries: Entry[], more: boolean) => void;
  /** @returns whether it could be sent */
  set: (values: Record<string, any>) => boolean;
  /** Begin a conversation that goes on with an earlier one */
  resume: (thread: string) => void;
  /** Put the cursor where one writes */
  focus: () => void;
}

export const stylesheet = new CSSStyleSheet();
stylesheet.replaceSync(look);

export class Panels {
  readonly commentForm = commentForm;
  readonly linkify = linkify;
  readonly pdf = pdf;
  readonly player = player;
  export;
  settings;
  env;
  threads;
  earlier;
  older;
  #formatting;
  #handlers;

  constructor({ chat, anew, keys, earlier, messages, list }: ReturnType<typeof layout>, formatting: Formatting, handlers: PanelHandlers) {
    const { client, api, server, attribute, insert, prepend, set, resume, focus } = handlers;
    this.#formatting = formatting;
    this.#handlers = handlers;
    this.settings = new Settings(set);
    this.env = new EnvForm(keys, client, focus);
    this.export = new Export(server);
    this.threads = new Threads(api, () => attribute("chat"), resume);
    this.earlier = new Earlier(messages, earlier, formatting, () => attribute("heading") ?? "", insert);
    this.older = new Older(messages, list, prepend);
    anew.before(this.threads.tool);
    anew.after(this.settings.tool, this.env.tool, this.export.tool);
    chat.append(this.export.dialog, this.threads.dialog, this.settings.dialog, this.env.dialog);
  }

  /** @returns a form that asks for a profile, or the name of the only one */
  profiles(chosen: (name: string) => void) {
    const { client, api, attribute } = this.#handlers;
    return profileChoice(attribute("profiles"), api() ?? "", attribute("chat") ?? "", client()?.profile, this.#formatting, chosen);
  }
}
