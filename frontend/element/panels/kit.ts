/** What the panels are made with. It is that of the element, which hands it over: a page has one copy of each. */
import type * as dom from "../dom.ts";
import type * as files from "../files.ts";
import type * as icons from "../icons.ts";
import type * as language from "../language.ts";
import type * as message from "../message.ts";
import type * as requests from "../requests.ts";
import type * as words from "../texts.ts";

export type Kit = Pick<typeof dom, "button" | "create" | "isolated" | "tool"> &
  Pick<typeof files, "save"> &
  Pick<typeof icons, "icon" | "namedIcon"> &
  Pick<typeof language, "number"> &
  Pick<typeof message, "article" | "ownArticle" | "timestamp"> &
  Pick<typeof requests, "Requests"> &
  Pick<typeof words, "texts">;

export let Requests: Kit["Requests"];
export let article: Kit["article"];
export let button: Kit["button"];
export let create: Kit["create"];
export let icon: Kit["icon"];
export let isolated: Kit["isolated"];
export let namedIcon: Kit["namedIcon"];
export let number: Kit["number"];
export let ownArticle: Kit["ownArticle"];
export let save: Kit["save"];
export let texts: Kit["texts"];
export let timestamp: Kit["timestamp"];
export let tool: Kit["tool"];

/** Before any panel is made. */
export function equip(kit: Kit) {
  ({ Requests, article, button, create, icon, isolated, namedIcon, number, ownArticle, save, texts, timestamp, tool } = kit);
}
