"""axe-core, which looks for what keeps people out of a page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests import services

SCRIPT = Path(__file__).parents[2] / "frontend/node_modules/axe-core/axe.min.js"

RUN = """
async ([context, rules]) => {
  await new Promise(requestAnimationFrame);
  const moving = document.getAnimations().filter((animation) => animation instanceof CSSTransition);
  await Promise.all(moving.map((animation) => animation.finished));
  const options = { resultTypes: ["violations"], ...(rules ? { runOnly: rules } : {}) };
  const { violations } = await axe.run(context ?? document, options);
  const told = (id, node) => [id, node.target.flat().join(" "), node.failureSummary].join(": ");
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => told(id, node)));
}
"""


@cache
def script() -> str:
    if not SCRIPT.exists():
        say_so = pytest.fail if services.required() else pytest.skip
        say_so("axe-core is not installed: npm ci --prefix frontend")
    return SCRIPT.read_text()


def violations(page: Page, within: list[str] | None = None) -> list[str]:
    """
    Return what axe finds wrong, each as one text, in light and in dark.

    ``within`` are the parts that are looked at, as selectors; all of the page without it.
    """
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(script())
    context: Any = within and {"include": [[selector] for selector in within]}
    found: list[str] = []
    for scheme, rules in (("light", None), ("dark", ["color-contrast"])):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found += [f"{scheme}: {one}" for one in page.evaluate(RUN, [context, rules])]
    page.emulate_media(color_scheme="light")
    return found
