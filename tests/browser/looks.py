"""How a page looks: to axe-core, by day and by night, on a phone and in a wide window."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page

from tests import services

from .chat import Chat

PHONE = {"width": 360, "height": 640}
WIDE = {"width": 1100, "height": 800}
#: WCAG 2.2, 1.4.3 and 1.4.11: text, and what tells a control from what is around it.
TEXT, CONTROL = 4.5, 3.0

SCRIPT = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"
#: Until nothing moves any more: a colour that changes has no contrast.
SETTLE = """
async () => {
  await new Promise(requestAnimationFrame);
  const moving = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
  await Promise.all(moving.map((animation) => animation.finished));
}
"""
AXE = """
async (within) => {
  const { violations } = await axe.run(within ?? document, { resultTypes: ["violations"] });
  const told = (id, node) => [id, node.target.flat().join(" "), node.failureSummary].join(": ");
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => told(id, node)));
}
"""

#: The contrast ratios of WCAG of an element, of its colours as the screen mixes them: of its text
#: to what is beneath it; of its border, and of what is beneath it, to what is around it.
CONTRASTS = """
(element, pseudo) => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const mix = (...layers) => {
    canvas.reset();
    for (const layer of ["white", ...layers]) {
      canvas.fillStyle = layer;
      canvas.fillRect(0, 0, 1, 1);
    }
    const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
      const share = value / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const beneath = (node) => {
    const layers = [];
    for (; node; node = node.assignedSlot ?? node.parentNode ?? node.host) {
      if (node instanceof Element) layers.unshift(getComputedStyle(node).backgroundColor);
    }
    return layers;
  };
  const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  const style = getComputedStyle(element, pseudo || null);
  const [under, around] = [beneath(element), beneath(element.parentNode)];
  return {
    text: ratio(mix(...under, style.color), mix(...under)),
    border: ratio(mix(...around, style.borderTopColor), mix(...around)),
    background: ratio(mix(...under), mix(...around)),
    dark: mix(...under) < 0.2,
  };
}
"""

#: What is read and has too little contrast: all texts but those of what cannot be used.
UNREADABLE = f"""
(least) => {{
  const contrasts = {CONTRASTS};
  const found = [];
  const UNUSABLE = ":disabled, [aria-disabled=true]";
  const WRITTEN = "textarea, input:not([type=range], [type=checkbox], [type=radio])";
  const check = (element, pseudo = "") => {{
    const {{ text }} = contrasts(element, pseudo);
    if (text >= least) return;
    const name = element.getAttribute("part") ?? element.tagName;
    found.push(`${{text.toFixed(2)}}: ${{name}}${{pseudo}} ${{element.textContent.trim()}}`);
  }};
  const look = (root) => {{
    for (const element of root.querySelectorAll("*")) {{
      if (element.shadowRoot) look(element.shadowRoot);
      const seen = element.checkVisibility({{ visibilityProperty: true, opacityProperty: true }});
      if (!seen || !element.getClientRects().length || element.closest(UNUSABLE)) continue;
      const texts = [...element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
      if (texts.some(({{ data }}) => data.trim())) check(element);
      else if (element.matches(WRITTEN)) {{
        if (element.value) check(element);
        else if (element.placeholder) check(element, "::placeholder");
      }}
    }}
  }};
  look(document);
  return found;
}}
"""

#: The names of elements that reach beyond the left or right edge of the window, and of buttons
#: whose words have no room in them.
STICKING_OUT = """
() => {
  const chats = [...document.querySelectorAll("chat-session")];
  const all = [document, ...chats.map((chat) => chat.shadowRoot)]
    .flatMap((root) => [...root.querySelectorAll("body *, [part]")]);
  const sticksOut = (element) => {
    const box = element.getBoundingClientRect();
    return box.width > 0 && (box.left < -0.5 || box.right > innerWidth + 0.5);
  };
  const wide = all.filter((element) => element.checkVisibility() && sticksOut(element))
    .map((element) => element.getAttribute("part") ?? element.tagName);
  const narrow = chats.flatMap((chat) => [...chat.shadowRoot.querySelectorAll("button")])
    .filter((button) => button.checkVisibility() && button.scrollWidth > button.clientWidth + 1)
    .map((button) => button.textContent);
  return [...wide, ...narrow];
}
"""


@cache
def axe() -> str:
    if not SCRIPT.exists():
        services.lack("axe-core is not installed: npm ci --prefix frontend")
    return SCRIPT.read_text()


def violations(page: Page, within: list[str] | None = None) -> list[str]:
    """
    Return what axe finds wrong and what cannot be read in light or in dark, each as one text.

    ``within`` are the parts that are looked at, as selectors; all of the page without it.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(axe())
    page.evaluate(SETTLE)
    context: Any = within and {"include": [[selector] for selector in within]}
    found: list[str] = page.evaluate(AXE, context)
    return found if within else found + unreadable(page)


def dark_and_light(page: Page) -> Iterator[str]:
    """In which it is then, as it was before."""
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.evaluate(SETTLE)
        yield scheme


def unreadable(page: Page) -> list[str]:
    return [
        f"{scheme}: {one}"
        for scheme in dark_and_light(page)
        for one in page.evaluate(UNREADABLE, TEXT)
    ]


def contrast(locator: Locator, of: str) -> float:
    """The lower of those in light and in dark."""
    return min(float(locator.evaluate(CONTRASTS)[of]) for _ in dark_and_light(locator.page))


def assert_fits(page: Page) -> None:
    """Nothing is wider than the page, and nothing sticks out of it."""
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.evaluate(STICKING_OUT) == []


def assert_apart(chat: Chat) -> None:
    """What stands one below the other does not overlap, and the message box is on the screen."""
    bottom = 0.0
    for name in ("header", "messages", "notice", "banner", "activity", "composer"):
        part = chat.element.locator(f"[part={name}]")
        if not part.is_visible():
            continue
        box = part.bounding_box()
        assert box
        assert box["height"] >= (100 if name == "messages" else 1), name
        assert box["y"] >= bottom - 0.5, name
        bottom = box["y"] + box["height"]
    assert bottom <= (chat.page.viewport_size or PHONE)["height"] + 0.5


def assert_large_enough(chat: Chat) -> None:
    """WCAG 2.2, 2.5.8: no control is smaller than 24 pixels."""
    sizes = chat.element.get_by_role("button").evaluate_all(
        "all => all.map((one) => one.getBoundingClientRect())"
        ".map(({ width, height }) => Math.min(width, height))"
    )
    assert sizes
    assert min(sizes) >= 24


def assert_side_by_side(*locators: Locator) -> None:
    right = 0.0
    for locator in locators:
        box = locator.bounding_box()
        assert box
        assert box["x"] >= right - 0.5
        right = box["x"] + box["width"]
