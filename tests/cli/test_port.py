"""``chatsessions port``: the imports of a bot change, and no other byte."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from .command import call

#: Imports as they are written, and as they are to be.
IMPORTS = {
    "import chainlit as cl": "import chatsessions.chainlit as cl",
    "import chainlit": "import chatsessions.chainlit as chainlit",
    "import os, chainlit, sys": "import os, chatsessions.chainlit as chainlit, sys",
    "import chainlit.types": (
        "import chatsessions.chainlit as chainlit, chatsessions.chainlit.types"
    ),
    "import chainlit.types as ct, os": "import chatsessions.chainlit.types as ct, os",
    "import chainlit \\\n    as cl": "import chatsessions.chainlit \\\n    as cl",
    "from chainlit import Message": "from chatsessions.chainlit import Message",
    "from chainlit import *": "from chatsessions.chainlit import *",
    "from chainlit.types import ThreadDict as T": (
        "from chatsessions.chainlit.types import ThreadDict as T"
    ),
    "from  \\\n  chainlit . types import (\n    ThreadDict,  # chainlit's\n)": (
        "from  \\\n  chatsessions.chainlit . types import (\n    ThreadDict,  # chainlit's\n)"
    ),
    "x = 'ä'; import chainlit as cl; y = '語'; from chainlit import sleep": (
        "x = 'ä'; import chatsessions.chainlit as cl; y = '語'; "
        "from chatsessions.chainlit import sleep"
    ),
    "try:\n    import chainlit as cl\nexcept ImportError:\n    cl = None": (
        "try:\n    import chatsessions.chainlit as cl\nexcept ImportError:\n    cl = None"
    ),
    "def f():\n\tfrom chainlit.input_widget import Select, \\\n\t\tSwitch": (
        "def f():\n\tfrom chatsessions.chainlit.input_widget import Select, \\\n\t\tSwitch"
    ),
    "\f\nif 1:\n    \f\n    pass\n\fimport chainlit as cl": (
        "\f\nif 1:\n    \f\n    pass\n\fimport chatsessions.chainlit as cl"
    ),
    # These are not Chainlit's.
    "import chainlitx, notchainlit": None,
    "from .chainlit import Message": None,
    "from . import chainlit": None,
    "s = '''\nimport chainlit as cl\n'''  # import chainlit": None,
}


def ported(folder: Path, data: bytes) -> bytes:
    """What becomes of a bot's file."""
    bot = folder / "bot.py"
    bot.write_bytes(data)
    result = call("port", "bot.py", cwd=folder)
    assert result.returncode == 0, result.stderr
    return bot.read_bytes()


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
def test_every_kind_of_import_is_rewritten(tmp_path: Path, newline: str) -> None:
    before = "\n\n".join(IMPORTS)
    after = "\n\n".join(new or old for old, new in IMPORTS.items())
    old, new = (text.replace("\n", newline).encode() for text in (before, after))
    assert ported(tmp_path, old) == new
    assert ported(tmp_path, new) == new
    compile(new, "bot.py", "exec")


@pytest.mark.parametrize(
    ("encoding", "cookie"),
    [
        ("utf-8-sig", ""),
        ("latin-1", "# -*- coding: latin-1 -*-\n"),
        ("cp1251", "# coding=cp1251\n"),
    ],
)
def test_encodings_stay(tmp_path: Path, encoding: str, cookie: str) -> None:
    word = "слово" if encoding == "cp1251" else "größer"
    text = f"{cookie}s = '{word}'; import chainlit as cl  # {word}\n\x0c\nx = 1"
    new = text.replace("import chainlit", "import chatsessions.chainlit")
    assert ported(tmp_path, text.encode(encoding)) == new.encode(encoding)


def test_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text("#!/usr/bin/env python\nimport chainlit as cl\n")
    (tmp_path / "real.py").chmod(0o750)
    (tmp_path / "bot.py").symlink_to("real.py")
    assert call("port", "bot.py", cwd=tmp_path).returncode == 0
    assert (tmp_path / "bot.py").is_symlink()
    assert "chatsessions.chainlit" in (tmp_path / "real.py").read_text()
    assert stat.S_IMODE((tmp_path / "real.py").stat().st_mode) == 0o750
    assert sorted(os.listdir(tmp_path)) == ["bot.py", "real.py"]


def test_it_says_what_it_did_and_what_comes_next(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text("import chainlit as cl\nfrom chainlit.types import ThreadDict\n")
    result = call("port", "bot.py", cwd=tmp_path)
    assert result.stdout == ("bot.py: 2 imports rewritten.\nRun it: chatsessions run bot.py -w\n")
    result = call("port", "bot.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (
        0,
        "bot.py: imports chatsessions.chainlit already.\n",
    )
    bot.write_text("from chatsessions import chainlit as cl, Chat\n")
    result = call("port", "bot.py", cwd=tmp_path)
    assert result.stdout == "bot.py: imports chatsessions.chainlit already.\n"
    bot.write_text("import chatsessions as cl\n")
    result = call("port", "bot.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, "bot.py: imports nothing of Chainlit.\n")


def test_a_diff_can_be_applied_and_nothing_is_written(tmp_path: Path) -> None:
    text = "import chainlit as cl\r\n" + "x = 1\r\n" * 20 + "from chainlit import sleep  # ä"
    old = text.encode()
    bot = tmp_path / "bot.py"
    bot.write_bytes(old)
    result = call("port", "--diff", "bot.py", cwd=tmp_path)
    assert bot.read_bytes() == old
    assert result.stderr == "bot.py: 2 imports to rewrite.\n"
    diff = result.stdout.encode()
    subprocess.run(["git", "apply", "-p0", "-"], cwd=tmp_path, input=diff, check=True)
    assert bot.read_bytes() == old.replace(b"chainlit", b"chatsessions.chainlit")


def test_check_fails_as_long_as_something_would_change(tmp_path: Path) -> None:
    bot = tmp_path / "bot.py"
    bot.write_text("import chainlit as cl\n")
    result = call("port", "--check", "bot.py", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (1, "bot.py: 1 import to rewrite.\n")
    assert bot.read_text() == "import chainlit as cl\n"
    assert call("port", "bot.py", cwd=tmp_path).returncode == 0
    assert call("port", "--check", "bot.py", cwd=tmp_path).returncode == 0


def test_a_folder_is_its_python_files(tmp_path: Path) -> None:
    theirs, other = "import chainlit\n", "import os\n"
    for name, text in {
        "app.py": theirs,
        "other.py": other,
        "steps/deep.py": theirs,
        "notes.txt": theirs,
        ".venv/hidden.py": theirs,
        "env/lib/chainlit_bot.py": theirs,
        "env/pyvenv.cfg": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    result = call("port", ".", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "app.py: 1 import rewritten.\nsteps/deep.py: 1 import rewritten.\n"
    assert (tmp_path / "env/lib/chainlit_bot.py").read_text() == theirs
    (tmp_path / "empty").mkdir()
    result = call("port", "empty", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (
        1,
        "chatsessions port: There is no Python file in empty.\n",
    )


# What it says of names


def test_names_that_differ_or_are_missing_are_told_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(
        "import importlib\n"
        "import chainlit as cl\n"
        "from chainlit import ErrorMessage, data_layer as layer\n"
        "from chainlit.data.base import BaseDataLayer\n"
        "\n"
        "@cl.on_chat_end\n"
        "async def end():\n"
        "    await cl.ErrorMessage('bye').send()\n"
        "    cl.no_such_name\n"
        "\n"
        "@layer\n"
        "def get(): ...\n"
        "importlib.import_module('chainlit')\n"
    )
    result = call("port", "bot.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    notes = [line.split(": ")[:2] for line in result.stdout.splitlines()[1:-1]]
    said = {place.removeprefix("bot.py:"): what for place, what in notes}
    assert said == {
        "3": "data_layer is not here",
        "4": "data is not here",
        "6": "on_chat_end differs",
        "9": "no_such_name is not here",
        "13": "the text 'chainlit' is left as it is",
    }
    assert "(also in line 11)" in result.stdout
    # They are told of a ported file, too.
    again = call("port", "bot.py", cwd=tmp_path)
    assert again.stdout.splitlines()[1:-1] == result.stdout.splitlines()[1:-2]


def test_names_of_a_star_import_and_of_a_module_are_found(tmp_path: Path) -> None:
    (tmp_path / "bot.py").write_text(
        "from chainlit import *\n"
        "import chainlit.data as d\n"
        "import chainlit.types\n"
        "@data_layer\n"
        "def layer(): return d.Layer(), chainlit.data\n"
        "@chainlit.on_chat_end\n"
        "def end(): ...\n"
    )
    result = call("port", "--check", "bot.py", cwd=tmp_path)
    lines = result.stdout.splitlines()
    assert [line.split(":")[1] for line in lines[1:]] == ["2", "4", "6"]
    assert "(also in line 5)" in lines[1]


def test_a_config_beside_the_bot_is_named(tmp_path: Path) -> None:
    (tmp_path / ".chainlit").mkdir()
    (tmp_path / "bot.py").write_text("import chainlit as cl\n")
    assert ".chainlit/ beside it is not read" in call("port", "bot.py", cwd=tmp_path).stdout


# What cannot be done


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("bot.txt", b"import chainlit\n", "bot.txt is no Python file"),
        ("bot.py", b"import chainlit\nprint 1\n", "bot.py:2: Missing parentheses"),
        ("bot.py", b"import chainlit\n\xff\n", "bot.py"),
        ("bot.py", b"# coding: klingon\nimport chainlit\n", "unknown encoding: klingon"),
        ("bot.py", b"import chainlit\n\0\n", "bot.py"),
        ("bot.py", None, "bot.py cannot be read: No such file"),
    ],
)
def test_what_is_wrong_is_named_and_the_other_files_are_ported(
    tmp_path: Path, name: str, data: bytes | None, words: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    (tmp_path / "good.py").write_text("import chainlit as cl\n")
    result = call("port", name, "good.py", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.startswith("chatsessions port: ")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    if data is not None:
        assert (tmp_path / name).read_bytes() == data
    assert (tmp_path / "good.py").read_text() == "import chatsessions.chainlit as cl\n"


def test_the_help_says_what_it_does(tmp_path: Path) -> None:
    result = call("port", "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert {"--diff", "--check", "FILE"} <= set(result.stdout.split())
    assert "port" in call("--help", cwd=tmp_path).stdout
    assert call("port", cwd=tmp_path).returncode == 2
    assert call("port", "--diff", "--check", "bot.py", cwd=tmp_path).returncode == 2
