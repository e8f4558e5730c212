"""What docs/deployment.md says to write and to type."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs" / "deployment.md"
#: Where the commands of this Python are.
BIN = Path(sys.executable).parent


def files(language: str) -> dict[str, str]:
    """The files that the page shows in a language, by the path that is named before each."""
    found = re.findall(
        rf"`(/etc/[\w/@.-]+)`[^`]*\n+```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.M
    )
    return dict(found)


def section(heading: str) -> str:
    return PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]


def block(language: str, heading: str) -> str:
    """The only block of a section in a language."""
    [found] = re.findall(rf"^```{language}\n(.*?)^```", section(heading), re.DOTALL | re.M)
    return str(found)


def commands(heading: str) -> list[str]:
    """What is typed in a section."""
    return re.findall(r"^\$ (.+)$", section(heading), re.MULTILINE)


def command(name: str, heading: str) -> list[str]:
    """The words of the command that starts ``name``, with this Python's own commands."""
    [found] = [line for line in commands(heading) if f"/bin/{name} " in line]
    return found.replace(".venv/bin", str(BIN)).split()
