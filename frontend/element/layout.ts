/** The element's inside. */
import { button, create, tool } from "./dom.ts";
import { icon } from "./icons.ts";
import { texts, translate } from "./texts.ts";

const nothing = () => {};

export function layout() {
  translate(texts); // a page that was changed by a script may have brought its messages with this element
  const parts = { ...header(), ...conversation(), ...notice(), ...banner(), ...work(), ...activity(), ...composer(), ...endDialog() };
  const announcer = create("p", { part: "announcer", role: "status" });
  const choice = create("div", { part: "choice", hidden: true });
  const keys = create("div", { part: "keys", hidden: true, tabindex: "-1" });
  const chat = create("section", { part: "chat" },
    parts.header, parts.body, choice, parts.notice, parts.banner, keys, parts.work, parts.activity, parts.composer, parts.dialog, announcer);
  return { chat, announcer, choice, keys, ...parts };
}

function header() {
  const heading = create("h2", { part: "heading" });
  const profile = create("span", { part: "profile", hidden: true });
  const status = create("span", { part: "status", role: "status" }, texts.states.connecting);
  const anew = tool("tool new", "plus", texts.newConversation, nothing, { hidden: true });
  const end = tool("end", "exit", texts.end, nothing, { title: texts.endTitle });
  const tools = create("div", { part: "tools" }, anew, end, create("slot", { name: "tools" }));
  return { header: create("header", { part: "header" }, heading, profile, status, tools), heading, profile, status, anew, end };
}

function conversation() {
  const earlier = create("div", { part: "earlier", hidden: true });
  const list = create("div", { part: "list" });
  const waiting = create("div", { part: "waiting-list", "aria-live": "off" });
  const empty = create("p", { part: "empty" }, texts.states.connecting);
  const messages = create("div", { part: "messages", role: "log", "aria-label": texts.log, "aria-live": "off", tabindex: "0" }, empty, earlier, list, waiting);
  const jump = button("jump", texts.jump, nothing, { hidden: true });
  return { body: create("div", { part: "body" }, messages, jump), messages, earlier, list, waiting, empty, jump };
}

function notice() {
  const noticeText = create("span", { part: "notice-text" });
  const dismiss = button("dismiss", "×", nothing, { "aria-label": texts.dismiss });
  return { notice: create("div", { part: "notice", role: "alert", hidden: true }, noticeText, dismiss), noticeText, dismiss };
}

function banner() {
  const bannerText = create("span", { part: "banner-text", role: "status" });
  const bannerTime = create("span", { part: "banner-time" });
  const bannerLink = create("a", { part: "banner-link", hidden: true }, texts.logIn);
  const bannerButton = button("banner-button", "", nothing);
  const ways = create("div", { part: "banner-ways" }, bannerLink, bannerButton);
  const banner = create("div", { part: "banner", hidden: true }, create("p", {}, bannerText, " ", bannerTime), ways);
  return { banner, bannerText, bannerTime, bannerLink, bannerButton };
}

function activity() {
  const dots = create("span", { part: "dots", "aria-hidden": "true" }, create("i"), create("i"), create("i"));
  const elapsed = create("span", { part: "elapsed" });
  const working = create("span", { part: "working", hidden: true }, dots, texts.working, " ", elapsed);
  const hint = create("span", { part: "hint", id: "hint" }, texts.hint);
  const stop = button("stop", texts.stop, nothing, { hidden: true });
  return { activity: create("div", { part: "activity" }, working, hint, stop), working, elapsed, hint, stop };
}

function work() {
  const workLabel = create("label", { part: "work-label", for: "work-bar" });
  const workBar = create("progress", { part: "work-bar", id: "work-bar" });
  return { work: create("div", { part: "work", hidden: true }, workLabel, workBar), workLabel, workBar };
}

function composer() {
  const inputLabel = create("label", { part: "label", for: "input" }, texts.inputLabel);
  const input = create("textarea", { part: "input", id: "input", rows: "1", enterkeyhint: "send", "aria-describedby": "hint", autocomplete: "off" });
  const attach = button("attach", "", nothing, { "aria-label": texts.attach, title: texts.attach, hidden: true });
  attach.append(icon("paperclip"));
  const send = create("button", { part: "send", type: "submit" }, texts.send);
  const editingCancel = button("editing-cancel", texts.cancelEdit, nothing);
  const editing = create("div", { part: "editing", hidden: true }, create("span", { id: "editing" }, texts.editing), editingCancel);
  const row = create("div", { part: "composer-row" }, inputLabel, attach, input, send);
  return { composer: create("form", { part: "composer" }, editing, row), editing, editingCancel, inputLabel, input, attach };
}

function endDialog() {
  const endConfirm = create("button", { part: "end-confirm", value: "end" }, texts.endConfirm);
  const endCancel = create("button", { part: "end-cancel", value: "" }, texts.endCancel);
  const question = create("p", { id: "question" }, texts.endQuestion);
  const form = create("form", { method: "dialog" }, question, endCancel, endConfirm);
  return { dialog: create("dialog", { part: "dialog", "aria-labelledby": "question" }, form), endConfirm };
}
