/** The words that a user may add to a thumb. */
import { button, create, texts } from "./kit.ts";

/** Characters that the server takes. */
const LONGEST = 4000;

/**
 * Let a user say more about the thumb that they have given, or no more.
 * @param row where the thumbs are
 * @param send tells the server; false if that cannot be; null if the thumb was taken back
 * @param comment that was given before
 */
export function commentForm(row: HTMLElement, thumb: HTMLElement, send: ((comment: string) => boolean) | null, comment = "") {
  row.querySelector("form")?.remove();
  if (!send) return;
  const field = create("textarea", { part: "comment-field", rows: "2", maxlength: `${LONGEST}`, "aria-label": texts.comment, placeholder: texts.comment }, comment);
  const submit = create("button", { part: "comment-send" }, texts.send);
  const form = create("form", { part: "comment" }, field, submit, button("comment-cancel", texts.cancelEdit, end));
  function end() {
    thumb.focus();
    form.remove();
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim() === comment.trim()) field.focus();
    else if (send(field.value.trim())) end();
  });
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return;
    event.stopPropagation(); // it stops no turn
    event.preventDefault();
    end();
  });
  row.append(form);
}
