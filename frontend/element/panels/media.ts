/** Files that browsers show with a player or a viewer of their own. */
import { create, texts } from "./kit.ts";

/** A sound or a film, in its message. */
export function player(link: HTMLElement, url: string, { mime, name }: { mime: string; name: string }) {
  const element = create(mime.startsWith("audio/") ? "audio" : "video", { part: "media", controls: true, preload: "metadata", "aria-label": name });
  if (!element.canPlayType(mime)) return;
  element.addEventListener("error", () => element.remove());
  element.src = url;
  link.before(element);
}

/** PDFs that are shown. */
const viewers: Set<Element> = new Set();
/** Whether the page's policy lets them be, as far as is known: the first that it blocks tells. */
let allowed = true;

globalThis.document?.addEventListener("securitypolicyviolation", ({ effectiveDirective, blockedURI }) => {
  if (effectiveDirective !== "frame-src" || !blockedURI.startsWith("blob")) return;
  allowed = false;
  for (const viewer of viewers) viewer.remove();
});

/** A PDF, in its message where the browser has a viewer and the page's policy `frame-src blob:`; a click opens it beside the page. */
export function pdf(link: HTMLElement, url: string, { name }: { name: string }) {
  if (!(link instanceof HTMLAnchorElement)) return;
  link.href = url;
  link.target = "_blank";
  link.rel = "noreferrer";
  link.setAttribute("part", "file document");
  link.title = texts.openFile;
  if (!navigator.pdfViewerEnabled || !allowed) return;
  for (const gone of viewers) if (!gone.isConnected) viewers.delete(gone);
  const viewer = create("iframe", { part: "media", src: url, title: name });
  viewers.add(viewer);
  link.before(viewer);
}
