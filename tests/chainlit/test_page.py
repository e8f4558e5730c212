"""The page for those who come from Chainlit says what the adapter's tables of names say."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import chatsessions.chainlit as cl
from chatsessions.chainlit.names import MODULES, NAMES, Name

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "from-chainlit.md"
#: Chainlit's public names, all of them.
PUBLIC = [
    line for line in (HERE / "names.txt").read_text().splitlines() if not line.startswith("#")
]


def section(heading: str) -> str:
    """What stands under a heading of the page."""
    text = PAGE.read_text()
    return re.split(r"^##+ ", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.M)[0]


def table(heading: str) -> list[tuple[list[str], str]]:
    """The rows of the table under a heading: the names, and what is said of them."""
    rows = [line.strip("| ").split(" | ") for line in section(heading).splitlines() if "|" in line]
    return [(re.findall(r"`([^`]+)`", names), text) for names, text in rows[2:]]


def rows(names: Mapping[str, Name], state: str) -> list[tuple[list[str], str]]:
    """What such a table is to say."""
    found: dict[str, list[str]] = {}
    for name, what in names.items():
        if what.state == state:
            found.setdefault(what.text, []).append(name)
    return [(names, text) for text, names in found.items()]


def render(found: list[tuple[list[str], str]]) -> str:
    """The table to write there."""
    return "\n".join(
        f"| {', '.join(f'`{name}`' for name in names)} | {text} |" for names, text in found
    )


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_of_chainlit_works_or_differs_or_says_what_to_do(name: str) -> None:
    if NAMES[name].state == "missing":
        with pytest.raises(AttributeError, match=re.escape(NAMES[name].text)):
            getattr(cl, name)
        assert not hasattr(cl, name)
    else:
        assert getattr(cl, name) is not None
        assert name in dir(cl)


@pytest.mark.parametrize("name", [name for name in NAMES if NAMES[name].state == "missing"])
def test_to_import_what_is_not_here_says_what_to_do(name: str) -> None:
    with pytest.raises(ImportError, match=re.escape(NAMES[name].text)):
        exec(f"from chatsessions.chainlit import {name}")  # noqa: S102


@pytest.mark.parametrize("module", MODULES)
def test_submodules_are_there_or_say_what_to_do(module: str) -> None:
    if MODULES[module].state == "missing":
        with pytest.raises(ImportError, match=re.escape(MODULES[module].text)):
            importlib.import_module(f"chatsessions.chainlit.{module}")
    else:
        importlib.import_module(f"chatsessions.chainlit.{module}")


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("### What differs", rows(NAMES, "differs")),
        ("### What is not here", rows(NAMES, "missing")),
        ("### Modules that are not here", rows(MODULES, "missing")),
    ],
)
def test_a_table_of_the_page_is_the_adapters(
    heading: str, expected: list[tuple[list[str], str]]
) -> None:
    assert table(heading) == expected, f"Write:\n{render(expected)}"


def test_the_page_names_what_is_as_in_chainlit() -> None:
    text = section("### What is as in Chainlit")
    works = [name for name, what in NAMES.items() if what.state == "works"]
    modules = [f".{name}" for name, what in MODULES.items() if what.state == "works"]
    assert re.findall(r"`([^`]+)`", text) == works + modules


def used(path: Path) -> Iterator[str]:
    """The names of the adapter that a file uses."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Attribute(value=ast.Name(id="cl"), attr=name):
                yield name
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="cl")), attr=name):
                yield name
            case ast.ImportFrom(module=str(module), names=names) if "chainlit" in module:
                yield from (alias.name for alias in names)


def test_every_name_that_works_or_differs_is_used_by_a_bot_or_a_test() -> None:
    found = {name for path in HERE.rglob("*.py") for name in used(path)}
    here = {name for name, what in NAMES.items() if what.state != "missing"}
    assert here - found == set()
