/** What opens above the page. */
import { button, create, icon } from "./kit.ts";

/** A dialog with a title, and a button that closes it. @param close what the button says */
export function dialogOf(part: string, title: string, close: string, ...children: (Node | string | null)[]) {
  const id = `${part}-title`;
  const dismiss = button("dialog-close", "", () => dialog.close(), { "aria-label": close, title: close });
  dismiss.append(icon("x"));
  const dialog = create("dialog", { part: `dialog ${part}`, "aria-labelledby": id },
    create("header", { part: "dialog-header" }, create("h3", { part: "dialog-title", id }, title), dismiss),
    ...children,
  );
  // A click on what is around it: the dialog itself has no room of its own.
  dialog.addEventListener("pointerdown", (event) => {
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (event.target === dialog && !inside) dialog.close();
  });
  return dialog;
}
