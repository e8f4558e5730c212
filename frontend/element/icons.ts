/** A small set of pictures, drawn in the colour of the text around them. */

/** Strokes on a field of 24 by 24. */
const STROKES: Record<string, string> = {
  "arrow-right": "M5 12h14M13 6l6 6-6 6",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 3a9 9 0 1 0 .01 0M12 7v5l3.5 2",
  copy: "M9 9h11v11H9zM4 15V4h11",
  download: "M12 4v11M7 10.5l5 5 5-5M5 20h14",
  exit: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  heart: "M12 20S4 15 4 9.2A4.2 4.2 0 0 1 12 7a4.2 4.2 0 0 1 8 2.2C20 15 12 20 12 20z",
  key: "M16 4a4 4 0 1 0 .01 0M13 11l-8 8.5h3.5V17H11v-2.5",
  paperclip: "M20 11.5l-8.2 8.2a5 5 0 0 1-7.1-7.1l8.5-8.5a3.3 3.3 0 0 1 4.7 4.7l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.7-7.7",
  pencil: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  play: "M7 4.5v15l12-7.5z",
  plus: "M12 5v14M5 12h14",
  refresh: "M19.5 14a8 8 0 1 1-1-6.5M20 4v5h-5",
  search: "M10.5 4a6.5 6.5 0 1 0 .01 0M15.5 15.5L20 20",
  sliders: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  star: "M12 3.5l2.6 5.4 5.9.8-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9L3.5 9.7l5.9-.8z",
  "thumbs-down": "M7 13V4H4v9zM7 13l4 7c1.6 0 2.3-1.2 2-2.6L12.5 14H19a1.6 1.6 0 0 0 1.6-2l-1.7-6.5A2 2 0 0 0 17 4H7",
  "thumbs-up": "M7 11v9H4v-9zM7 11l4-7c1.6 0 2.3 1.2 2 2.6L12.5 10H19a1.6 1.6 0 0 1 1.6 2l-1.7 6.5A2 2 0 0 1 17 20H7",
  trash: "M4 7h16M9 7V4h6v3M6 7l1 13h10l1-13M10 11v5M14 11v5",
  x: "M6 6l12 12M18 6L6 18",
};
/** Those that point in the direction in which one reads. */
const POINTING = ["arrow-right", "exit"];
const SVG = "http://www.w3.org/2000/svg";
/** What is shown as a picture of its own has a few signs at most: an emoji with its joiners, a letter or two. */
const LONGEST = 12;

/** A picture by its name. It says nothing to who listens. */
export function icon(name: string) {
  const svg = drawing(STROKES[name] ?? "");
  svg.toggleAttribute("data-points", POINTING.includes(name));
  return svg;
}

/** @param strokes on the same field */
export function drawing(strokes: string) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", strokes);
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false", part: "icon" })) {
    svg.setAttribute(key, value);
  }
  svg.append(path);
  return svg;
}

/**
 * What a bot calls an icon: one of ours by its name, or a sign or two to be shown as they are. An
 * address is neither, nor is a name that we do not know.
 */
export function namedIcon(name: unknown): Element | null {
  if (typeof name !== "string" || !name.trim()) return null;
  if (Object.hasOwn(STROKES, name)) return icon(name);
  if (name.length > LONGEST || /[\w./:\\-]{3}/.test(name)) return null;
  const sign = document.createElement("span");
  sign.setAttribute("part", "icon");
  sign.setAttribute("aria-hidden", "true");
  sign.textContent = name;
  return sign;
}
