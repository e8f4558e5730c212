"""``chatsessions port``: change bots' imports to ``chatsessions.chainlit``; say what differs."""

from __future__ import annotations

import argparse
import ast
import difflib
import io
import os
import re
import shutil
import sys
import tokenize
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from chatsessions.chainlit.names import MODULES, NAMES, Name

from . import CommandFailed

THEIRS = "chainlit"
OURS = "chatsessions.chainlit"

#: The text before the module in a "from … import".
_FROM = re.compile(r"from(?:[ \t\f]|\\(?:\r\n|\r|\n))+")
#: The part of ``OURS`` before ``THEIRS``.
PARENT = OURS.removesuffix(THEIRS)
UNKNOWN = Name(state="missing", text="Chainlit has no such name, either")
#: How many further lines a note names.
SHOWN_LINES = 5


def port(options: argparse.Namespace) -> int:
    """
    Rewrite the imports of Chainlit in files, and in the Python files of folders.

    ``--diff`` prints what would change and writes nothing; ``--check`` writes nothing. Return 1 if
    a file cannot be ported, and with ``--check`` if one would change.
    """
    writes = not options.diff and not options.check
    code = 0
    ported: list[Path] = []
    for path in options.paths:
        files = list(_python_files(path)) if path.is_dir() else [path]
        if not files:
            sys.stderr.write(f"chatsessions port: There is no Python file in {path}.\n")
            code = 1
        for file in files:
            try:
                bot = PortedFile.read(file)
                if options.diff:
                    bot.print_diff()
                if writes:
                    bot.write()
            except CommandFailed as error:
                sys.stderr.write(f"chatsessions port: {error}\n")
                code = 1
                continue
            if bot.imports:
                ported.append(file)
            if bot.imports or bot.notes or file == path:
                (sys.stderr if options.diff else sys.stdout).write(bot.report(written=writes))
    if writes and len(ported) == 1:
        sys.stdout.write(f"Run it: chatsessions run {ported[0]} -w\n")
    return 1 if options.check and ported else code


def _python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files below ``folder``, but for hidden folders and virtual environments."""
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and not (here / name / "pyvenv.cfg").exists()
        )
        yield from (here / name for name in sorted(files) if name.endswith(".py"))


@dataclass(slots=True, kw_only=True)
class PortedFile:
    """A Python file before and after the change of its imports."""

    path: Path
    #: The content before and after the change.
    old: bytes
    new: bytes
    #: How many imports of Chainlit the file has, and of ``chatsessions.chainlit``.
    imports: int
    ported_imports: int
    #: Numbers of lines, each with a note about a name that the line uses.
    notes: list[tuple[int, str]]

    @classmethod
    def read(cls, path: Path) -> PortedFile:
        """Read ``path``. Raises ``CommandFailed`` if it is no Python file or cannot be read."""
        if path.suffix != ".py":
            raise CommandFailed(f"{path} is no Python file: its name does not end in .py.")
        try:
            old = path.read_bytes()
        except OSError as error:
            raise CommandFailed(f"{path} cannot be read: {error.strerror}.") from error
        try:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(old).readline)
            text = old.decode(encoding)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those about the bot's own code
                tree = ast.parse(text)
        except SyntaxError as error:
            raise CommandFailed(f"{path}:{error.lineno or 1}: {error.msg}.") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise CommandFailed(f"{path} cannot be read as Python: {error}.") from error
        found = _Imports(text)
        found.visit(tree)
        new = found.rewritten().encode(encoding)
        if text.encode(encoding) != old:
            raise CommandFailed(f"{path}: its encoding, {encoding}, cannot be written unchanged.")
        return cls(
            path=path,
            old=old,
            new=new,
            imports=found.counts[THEIRS],
            ported_imports=found.counts[OURS],
            notes=_notes(tree, found),
        )

    def write(self) -> None:
        """Replace the file, if it changes. Raises ``CommandFailed`` if that is not possible."""
        if self.new == self.old:
            return
        target = self.path.resolve()
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            beside.write_bytes(self.new)
            shutil.copymode(target, beside)
            beside.replace(target)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise CommandFailed(f"{self.path} cannot be written: {error.strerror}.") from error

    def print_diff(self) -> None:
        """Print the changes, byte for byte, as a diff for ``patch -p0``."""
        name = os.fsencode(self.path)
        old, new = (io.BytesIO(text).readlines() for text in (self.old, self.new))
        for line in difflib.diff_bytes(difflib.unified_diff, old, new, name, name):
            end = b"" if line.endswith(b"\n") else b"\n\\ No newline at end of file\n"
            sys.stdout.buffer.write(line + end)
        sys.stdout.buffer.flush()

    def report(self, *, written: bool) -> str:
        """Return what was done, and what the file's author should know."""
        if self.imports:
            count = f"{self.imports} import{'s' if self.imports > 1 else ''}"
            done = f"{count} rewritten" if written else f"{count} to rewrite"
        elif self.ported_imports:
            done = f"imports {OURS} already"
        else:
            done = "imports nothing of Chainlit"
        lines = [f"{self.path}: {done}."]
        lines += [f"{self.path}:{line}: {note}" for line, note in self.notes]
        if self.imports and (self.path.parent / ".chainlit").is_dir():
            lines.append(
                f"{self.path}: .chainlit/ beside it is not read; docs/from-chainlit.md says "
                "where its settings are here."
            )
        return "\n".join([*lines, ""])


class _Imports(ast.NodeVisitor):
    """Finds the imports of both packages, and the text to insert to change Chainlit's."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: The lines as Python counts them: a form feed does not end one.
        self._lines = io.StringIO(text, newline="").readlines()
        self._starts = [0, *accumulate(map(len, self._lines))]
        #: The text to insert, by position.
        self._insertions: dict[int, str] = {}
        #: How many statements import each package.
        self.counts: Counter[str] = Counter()
        #: What a name in the file stands for: ``Message``, ``types.ThreadDict``, …; "" for the
        #: package.
        self.bound: dict[str, str] = {}
        #: The lines of imports, and the imported names.
        self.imported: list[tuple[int, str]] = []

    def rewritten(self) -> str:
        """Return the file's text, with the insertions."""
        text = self._text
        for position, inserted in sorted(self._insertions.items(), reverse=True):
            text = text[:position] + inserted + text[position:]
        return text

    def visit_Import(self, node: ast.Import) -> None:
        """Handle ``import chainlit as cl`` and ``import os, chainlit.types``."""
        packages = set()
        for alias in node.names:
            package, module = _split(alias.name)
            if package is None:
                continue
            packages.add(package)
            self.imported.append((alias.lineno, module))
            self.bound[alias.asname or package] = module if alias.asname else ""
            if package == OURS:
                continue
            start = self._position(alias.lineno, alias.col_offset)
            self._insertions[start] = PARENT
            if alias.asname is None and module:
                # The statement imports the module, and binds its package.
                self._insertions[start] = f"{OURS} as {THEIRS}, {PARENT}"
            elif alias.asname is None:
                end = self._position(alias.end_lineno or 0, alias.end_col_offset or 0)
                self._insertions[end] = f" as {THEIRS}"
        self.counts.update(packages)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Handle ``from chainlit.types import ThreadDict``."""
        if node.level:
            return
        found = None
        for alias in node.names:
            package, name = _split(f"{node.module}.{alias.name}")
            if package is None:
                continue
            found = package
            if alias.name != "*":
                self.imported.append((alias.lineno, name))
                self.bound[alias.asname or alias.name] = name
            elif name == "*":
                self.bound |= {name: name for name in NAMES}
        if found is not None:
            self.counts[found] += 1
        if found == THEIRS:
            before = _FROM.match(self._text, self._position(node.lineno, node.col_offset))
            assert before is not None  # noqa: S101  # the parser has read it
            self._insertions[before.end()] = PARENT

    def _position(self, line: int, column: int) -> int:
        """Return the position in the text of a line and column of ``ast``, which counts bytes."""
        before = self._lines[line - 1].encode()[:column]
        return self._starts[line - 1] + len(before.decode())


def _notes(tree: ast.AST, imports: _Imports) -> list[tuple[int, str]]:
    """
    Return notes about the names of Chainlit that a file uses and that differ or are missing here.

    There is one note per name, with the first line of its use.
    """
    lines: defaultdict[str, set[int]] = defaultdict(set)
    for line, name in imports.imported:
        lines[_note(name)].add(line)
    for node in ast.walk(tree):
        match node:
            case ast.Name() | ast.Attribute():  # "cl.Message" and "chainlit.types.ThreadDict"
                names = _dotted(node)
                for size in (1, 2):  # "cl", and "chatsessions.chainlit"
                    start = imports.bound.get(".".join(names[:size]))
                    if start is not None:
                        name = ".".join(filter(None, [start, *names[size:]]))
                        lines[_note(name)].add(node.lineno)
                        break
            case ast.Call(args=[ast.Constant(value=str(text)), *_]) if _split(text)[0] == THEIRS:
                # import_module("chainlit") and the like
                lines[f"the text {text!r} is left as it is"].add(node.lineno)
    lines.pop("", None)
    found = []
    for text, its_lines in lines.items():
        first, *others = sorted(its_lines)
        if others:
            also = ", ".join(map(str, others[:SHOWN_LINES]))
            more = ", …" if len(others) > SHOWN_LINES else ""
            text += f" (also in line{'s' * (len(others) > 1)} {also}{more})"
        found.append((first, text))
    return sorted(found)


def _note(name: str) -> str:
    """Return what to say of ``name``, such as ``types.ThreadDict``; nothing if it works here."""
    first, *rest = name.split(".")
    shown = first
    found = NAMES.get(first) or MODULES.get(first) or UNKNOWN
    if found.state == "works" and rest and rest[0] in NAMES:
        shown, found = f"{first}.{rest[0]}", NAMES[rest[0]]
    if not first or found.state == "works":
        return ""
    what = "differs" if found.state == "differs" else "is not here"
    return f"{shown} {what}: {found.text}"


def _dotted(node: ast.expr) -> list[str]:
    """Return the names of ``a.b.c``; none if ``node`` is something else."""
    match node:
        case ast.Name():
            return [node.id]
        case ast.Attribute():
            owner = _dotted(node.value)
            return [*owner, node.attr] if owner else []
    return []


def _split(name: str) -> tuple[str | None, str]:
    """Return the package of ``name``, ``THEIRS`` or ``OURS``, and the rest of the name."""
    for package in (THEIRS, OURS):
        if name == package or name.startswith(f"{package}."):
            return package, name.removeprefix(package).lstrip(".")
    return None, ""
