/**
 * Keeps who reads the end at the end, and leaves who reads further up where they are.
 *
 * Positions are read where the browser has just found them: when a size has changed, and when somebody scrolls.
 */

/** How near to its end, in pixels, a reader counts as being at the end of the conversation. */
const NEAR = 48;

export class Scrolling {
  #messages;
  #jump;
  #atEnd = true;
  /** Where the reader was last. */
  #top = 0;
  #resized = new ResizeObserver(() => this.keep());

  /** @param jump the button that leads to the end */
  constructor(messages: HTMLElement, jump: HTMLElement) {
    this.#messages = messages;
    this.#jump = jump;
    messages.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** @param contents whose size matters */
  observe(...contents: HTMLElement[]) {
    for (const element of [this.#messages, ...contents]) this.#resized.observe(element);
    this.keep();
  }

  disconnect() {
    this.#resized.disconnect();
  }

  keep() {
    if (this.#atEnd) this.toEnd();
    else this.#scrolled();
  }

  toEnd() {
    this.#atEnd = true;
    this.#jump.hidden = true;
    this.#messages.scrollTop = this.#messages.scrollHeight;
  }

  /** Change what is above the reader, who stays where they are. */
  hold(change: () => void) {
    const { style } = this.#messages;
    const below = this.#messages.scrollHeight - this.#messages.scrollTop;
    style.overflowAnchor = "none"; // or it would be done twice
    change();
    this.#top = this.#messages.scrollTop = this.#messages.scrollHeight - below;
    requestAnimationFrame(() => (style.overflowAnchor = ""));
  }

  /** Begin at the end. */
  reset() {
    this.#atEnd = true;
  }

  #scrolled() {
    const { scrollHeight, scrollTop, clientHeight } = this.#messages;
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#atEnd = true;
    else if (scrollTop < this.#top) this.#atEnd = false; // else it is the end that has moved away: a picture has come
    this.#top = scrollTop;
    this.#jump.hidden = this.#atEnd;
  }
}
