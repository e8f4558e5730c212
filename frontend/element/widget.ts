/**
 * `<chat-widget src="/ws/support/" heading="Support" script="/static/chatsessions/chat-session.js">`: a button in the
 * corner of a page, and the panel that it opens, with a `<chat-session>` in it.
 *
 * `script` is where `<chat-session>` comes from, by default the file beside this one. It is loaded when the panel is
 * opened, or when there is a conversation in this tab already. All other attributes are those of `<chat-session>`.
 *
 * A page that has no such element says the same in the tag that loads this file:
 * `<script type="module" src="https://chat.example/static/chatsessions/widget.js" data-src="wss://chat.example/ws/support/">`.
 */
/// <reference path="./css.d.ts" />
import look from "./widget.css";
import type { ChatSessionElement } from "./chat-session.ts";
import { button, create } from "./dom.ts";
import { drawing } from "./icons.ts";
import { load } from "./lazy.ts";
import { widgetTexts as texts } from "./texts.ts";

const BUBBLE = "M4 5h16v11h-8l-5 4v-4H4z";
/** As in widget.css: here the panel covers the page. */
const PHONE = "(max-width: 480px)";
/** Attributes that are the widget's own. */
const OWN = ["script", "id", "class", "style", "hidden"];

const stylesheet = new CSSStyleSheet();
stylesheet.replaceSync(look);

export class ChatWidgetElement extends HTMLElement {
  #phone = matchMedia(PHONE);
  #badge = create("span", { part: "badge", "aria-hidden": "true", hidden: true });
  #button = button("button", "", () => (this.open ? this.hide() : this.show()), { "aria-expanded": "false", "aria-controls": "panel" });
  #close = button("close", "×", () => this.hide(), { slot: "tools", "aria-label": texts.close });
  #loading = create("p", { part: "loading", role: "status" }, texts.loading);
  #panel = create("dialog", { part: "panel", id: "panel", tabindex: "-1" });
  #announcer = create("p", { part: "announcer", role: "status" });
  #chat: ChatSessionElement | null = null;
  #open = false;
  #root = this.attachShadow({ mode: "open" });

  constructor() {
    super();
    this.#button.append(drawing(BUBBLE), this.#badge);
    this.#root.adoptedStyleSheets = [stylesheet];
    this.#root.append(this.#panel, this.#button, this.#announcer);
    this.#panel.addEventListener("keydown", (event) => this.#pressed(event));
    // Such as by the "back" of a phone.
    this.#panel.addEventListener("close", () => this.#panel.open || this.hide());
    this.#panel.addEventListener("chat-unread", (event) => this.#count((event as CustomEvent).detail.count));
    this.#panel.addEventListener("chat-state", (event) => (event as CustomEvent).detail.state === "ended" && this.#remember());
  }

  connectedCallback() {
    this.#button.setAttribute("aria-label", this.#name);
    this.#panel.setAttribute("aria-label", this.#name);
    this.#phone.addEventListener("change", this.#turned);
    visualViewport?.addEventListener("resize", this.#fit);
    const before = recall(this.#key);
    if (before) void this.#load();
    // At another place of the page it does not cover that any more.
    if (this.#open) this.#turned();
    // On a phone, somebody who has followed a link wants to see where it leads.
    else if (before === "open" && (!this.#phone.matches || reloaded())) this.#show();
  }

  disconnectedCallback() {
    this.#phone.removeEventListener("change", this.#turned);
    visualViewport?.removeEventListener("resize", this.#fit);
  }

  /** The `<chat-session>` in the panel; null before there is one. */
  get chat() {
    return this.#chat;
  }

  /** Whether the panel is open. */
  get open() {
    return this.#open;
  }

  /** Open the panel, and put the focus into it. */
  show() {
    if (this.#open) return;
    this.#show();
    this.#panel.focus();
    void this.#load().then(() => this.#enter());
  }

  /** Close the panel; the focus goes back to the button if it was in there. */
  hide() {
    if (!this.#open) return;
    const focused = this.#focused;
    this.#open = false;
    this.#panel.close();
    this.#button.setAttribute("aria-expanded", "false");
    this.#remember();
    if (focused) this.#button.focus();
  }

  #show() {
    this.#open = true;
    // A page that comes with an open panel keeps its focus: show() would take it.
    if (this.#phone.matches) this.#panel.showModal();
    else this.#panel.setAttribute("open", "");
    this.#fit();
    this.#button.setAttribute("aria-expanded", "true");
    this.#remember();
  }

  get #focused() {
    return this.#panel.contains(this.#root.activeElement);
  }

  /** To where one writes, unless a keyboard would come up and cover what there is to read. */
  #enter() {
    if (this.#root.activeElement === this.#panel && !matchMedia("(pointer: coarse)").matches) this.#chat?.focus();
  }

  /** It covers the page now, or does no longer. */
  #turned = () => {
    if (!this.#open) return;
    const focused = this.#focused;
    this.#panel.close();
    this.#show();
    if (focused) this.#panel.focus();
  };

  /** What a keyboard on the screen leaves of it. */
  #fit = () => {
    const view = this.#phone.matches && this.#open ? visualViewport : null;
    this.#panel.style.blockSize = view?.scale === 1 ? `${view.height}px` : "";
  };

  #pressed(event: KeyboardEvent) {
    if (event.key !== "Escape" || event.isComposing || event.defaultPrevented) return;
    // A dialog of the chat closes itself, and nothing else.
    if (event.composedPath().find((node) => node instanceof HTMLDialogElement) !== this.#panel) return;
    event.preventDefault();
    this.hide();
  }

  #count(unread: number) {
    const shown = unread > 0 && !this.#open;
    this.#badge.hidden = !shown;
    this.#badge.textContent = unread > 99 ? "99+" : `${unread}`;
    this.#button.setAttribute("aria-label", shown ? `${this.#name}, ${texts.unread(unread)}` : this.#name);
    this.#announcer.textContent = shown ? `${this.#name}: ${texts.unread(unread)}` : "";
  }

  async #load() {
    this.#chat ??= this.#make();
    if (!this.#loading.isConnected) return;
    this.#loading.textContent = texts.loading;
    try {
      await load(this.getAttribute("script") ?? new URL("chat-session.js", import.meta.url).href);
      this.#loading.remove();
    } catch (error) {
      this.#loading.textContent = texts.failed;
      console.error("<chat-widget> cannot load <chat-session>:", error);
      return;
    }
  }

  #make() {
    const chat = create("chat-session", { id: this.#place });
    for (const { name, value } of this.attributes) if (!OWN.includes(name)) chat.setAttribute(name, value);
    chat.append(this.#close);
    this.#panel.append(this.#loading, chat);
    // A page whose text is smaller or larger than its reader has asked for does not change the chat's.
    const [wanted, given] = [this.#panel, document.documentElement].map((element) => parseFloat(getComputedStyle(element).fontSize));
    const zoom = wanted! / given!;
    if (zoom !== 1) chat.style.setProperty("zoom", `${zoom}`);
    return chat;
  }

  /** The name of the button and of the panel. */
  get #name() {
    return this.getAttribute("heading") || texts.name;
  }

  /** Tells its conversation from those of other elements. */
  get #place() {
    return this.id || "chat-widget";
  }

  get #key() {
    return `chatsessions:widget:${this.getAttribute("src")}#${this.#place}`;
  }

  /** For the next page of this tab: whether it is open, and whether there is a conversation. */
  #remember() {
    const ended = this.#chat?.client?.state.state === "ended";
    keep(this.#key, this.#open ? "open" : ended ? null : "closed");
  }
}

function recall(key: string) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null; // forbidden
  }
}

function keep(key: string, value: string | null) {
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    // Forbidden, or no room: the next page begins with a closed panel.
  }
}

/** Whether the page has come by a reload. */
function reloaded() {
  const [navigation] = performance.getEntriesByType("navigation");
  return (navigation as PerformanceNavigationTiming | undefined)?.type === "reload";
}

declare global {
  interface HTMLElementTagNameMap {
    "chat-widget": ChatWidgetElement;
  }
}

if (!customElements.get("chat-widget")) customElements.define("chat-widget", ChatWidgetElement);

/** The tags that load this file and say where a chat is: each has a widget. */
for (const script of document.querySelectorAll<HTMLScriptElement>("script[data-src]")) {
  if (script.src !== import.meta.url) continue;
  const attributes = [...script.attributes].filter(({ name }) => name.startsWith("data-"));
  document.body.append(create("chat-widget", Object.fromEntries(attributes.map(({ name, value }) => [name.slice(5), value]))));
}
