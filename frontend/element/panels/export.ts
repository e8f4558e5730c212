/** The conversation as a file, for its user. */
import type { FileServer } from "../uploads.ts";
import { dialogOf } from "./dialog.ts";
import { button, create, save, texts, tool } from "./kit.ts";

export class Export {
  #server;
  /** The file that the dialog waits for, since it was opened. */
  #awaited: object | null = null;
  #status = create("p", { part: "export-status", role: "status" });
  dialog = dialogOf("export", texts.export, texts.close,
    create("div", { part: "export-ways" },
      button("secondary", "Markdown", () => this.#save("markdown")),
      button("secondary", "JSON", () => this.#save("json")),
    ),
    this.#status,
  );
  tool = tool("tool export-open", "download", texts.export, () => this.#open(), { "aria-haspopup": "dialog", hidden: true });

  constructor(server: () => FileServer | null) {
    this.#server = server;
  }

  #open() {
    this.#awaited = null;
    this.#status.textContent = "";
    this.dialog.showModal();
  }

  async #save(format: string) {
    if (this.#awaited) return;
    const file = (this.#awaited = {});
    this.#status.textContent = texts.loading;
    try {
      const server = this.#server()!;
      const { blob, name } = await server.load(`${server.url()}../export/?format=${format}`);
      save(blob, name ?? format);
      if (file === this.#awaited) this.dialog.close();
    } catch {
      if (file !== this.#awaited) return;
      this.#awaited = null;
      this.#status.textContent = texts.downloadFailed;
    }
  }
}
