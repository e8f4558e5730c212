/** What is said of the line's state, with the way out of it; and what was refused. */
import type { StateDetail } from "../client/client.ts";
import type { layout } from "./layout.ts";
import { texts } from "./texts.ts";

/** What there was before. */
export type Past = { reached: boolean; session: boolean };
export type Parts = ReturnType<typeof layout>;

/** The line above the composer, or in its place where nobody can write. */
export class Banner {
  #parts;
  #countdown: number | undefined;

  constructor(parts: Pick<Parts, "banner" | "bannerText" | "bannerTime" | "bannerLink" | "bannerButton">) {
    this.#parts = parts;
  }

  show(state: StateDetail, past: Past, loginUrl: string | null) {
    const { banner, bannerText, bannerTime, bannerLink, bannerButton } = this.#parts;
    window.clearInterval(this.#countdown);
    const [text, label] = words(state, past);
    banner.hidden = !text;
    bannerText.textContent = text;
    bannerButton.textContent = label;
    bannerButton.hidden = !label;
    const login = state.state === "refused" && state.reason === "unauthorized" ? safeUrl(loginUrl) : null;
    bannerLink.hidden = !login;
    if (login) bannerLink.href = login;
    bannerButton.toggleAttribute("data-second", Boolean(login));
    bannerTime.textContent = "";
    if (text && state.state === "offline") this.#countDown(Date.now() + (state.retryIn ?? 0) * 1000);
  }

  #countDown(until: number) {
    const show = () => {
      const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000));
      this.#parts.bannerTime.textContent = texts.retryIn(seconds);
    };
    show();
    this.#countdown = window.setInterval(show, 1000);
  }
}

/** What was refused, until somebody has read it, or for a while. */
export class Notice {
  #parts;
  #timer: number | undefined;

  constructor(parts: Pick<Parts, "notice" | "noticeText">) {
    this.#parts = parts;
  }

  /** @param seconds after which it goes away */
  show(text: string, seconds?: number) {
    const { notice, noticeText } = this.#parts;
    noticeText.textContent = text;
    notice.hidden = false;
    notice.toggleAttribute("data-passing", seconds !== undefined);
    window.clearTimeout(this.#timer);
    if (seconds) this.#timer = window.setTimeout(() => this.dismiss(), Math.max(seconds, 4) * 1000);
  }

  dismiss() {
    window.clearTimeout(this.#timer);
    this.#parts.notice.hidden = true;
    this.#parts.noticeText.textContent = "";
  }
}

/** A state in a word or two. */
export function statusWords({ state, attempt, reason }: StateDetail, { reached }: Past) {
  if (state === "refused" && reason === "missing_env") return texts.keysWanted;
  return state === "connecting" && attempt && reached ? texts.reconnecting : texts.states[state];
}

/** What to say of a state, and on the button that leads out of it. */
function words({ state, attempt, reason, code, detail }: StateDetail, { reached, session }: Past): [string, string] {
  if ((state === "offline" || state === "connecting") && reason === "not_migrated") return [detail ?? texts.unreachable, texts.tryNow];
  // The first attempt follows at once: no need to alarm anybody.
  if ((state === "offline" || state === "connecting") && attempt > 1) return [reached ? texts.offline : texts.unreachable, texts.tryNow];
  if (state === "replaced") return [texts.replaced, texts.takeOver];
  if (state === "ended") return [texts.endedBy[reason ?? ""] ?? texts.ended, texts.startNew];
  if (state !== "refused" || reason === "missing_env") return ["", ""];
  if (code === 4502 && reason === "unauthorized" && !session) return [texts.loginFirst, texts.tryAgain];
  const known = (code === 4502 && texts.refusedFor[reason ?? ""]) || texts.refusedWith[code ?? 0];
  return [known ?? (detail || texts.refused), texts.tryAgain];
}

/** @param url of a page; a script is none */
function safeUrl(url: string | null) {
  if (!url || !URL.canParse(url, location.href)) return null;
  return /^https?:$/.test(new URL(url, location.href).protocol) ? url : null;
}
