"""What mypy says, in its strictest mode, of what users of the package write."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT / "tests" / "typing"
#: Strict, and with what is only on by request. One module has the override that docs/handlers.md
#: names.
CONFIG = """
[mypy]
strict = True
python_version = 3.12
enable_error_code = unused-awaitable, truthy-bool, possibly-undefined
ignore_missing_imports = True
follow_imports = silent

[mypy-tests.typing.clerk]
disable_error_code = unused-coroutine
"""
EXPECTED = re.compile(r"# E: (.+)$")
SAID = re.compile(r"^(?P<file>.+?):(?P<line>\d+): error: .* \[(?P<code>[\w-]+)\]$", re.MULTILINE)

Errors = set[tuple[str, int, str]]


def cases() -> list[Path]:
    found = sorted(CASES.glob("[!_]*.py"))
    return [one for one in found if one.stem != "openai_client" or find_spec("openai")]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    """The errors of one run over all modules: file, line and code."""
    folder = tmp_path_factory.mktemp("typing")
    (folder / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", str(folder / "mypy.ini")]
    command += ["--cache-dir", str(folder / "cache"), "--no-pretty", *map(str, cases())]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode in (0, 1), result.stdout + result.stderr
    return {
        (Path(one["file"]).name, int(one["line"]), one["code"])
        for one in SAID.finditer(result.stdout)
    }


@pytest.mark.parametrize("path", cases(), ids=lambda path: path.stem)
def test_what_is_wrong_is_an_error_and_nothing_else_is(said: Errors, path: Path) -> None:
    expected = {
        (path.name, number, code)
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (marked := EXPECTED.search(line))
        for code in marked[1].split(", ")
    }
    assert {one for one in said if one[0] == path.name} == expected
