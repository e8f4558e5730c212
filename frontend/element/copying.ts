/** The button that copies a message, as it was written. */
import { copyText } from "./clipboard.ts";
import { button } from "./dom.ts";
import { icon } from "./icons.ts";
import { texts } from "./texts.ts";

/** Milliseconds for which it shows that it has. */
const COPIED_FOR = 2000;

/** @param announce say it to who listens */
export function copyButton(text: string, announce: (text: string) => void) {
  const element = button("copy", "", async () => {
    if (!(await copyText(text, element.closest("article")!.querySelector("[part=content]")!))) return;
    announce(texts.copied);
    element.replaceChildren(icon("check"));
    setTimeout(() => element.replaceChildren(icon("copy")), COPIED_FOR);
  }, { "aria-label": texts.copyMessage, title: texts.copyMessage, tabindex: "-1" });
  element.append(icon("copy"));
  return element;
}
