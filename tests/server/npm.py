"""The client as an npm package, in a project of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "frontend"


def install_client(folder: Path) -> Path:
    """Make a folder a project that has the package installed, without a registry."""
    packed = _npm("pack", "--pack-destination", str(folder), cwd=SOURCES / "client")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    _npm("install", "--offline", "--no-audit", "--no-fund", packed.split()[-1], cwd=folder)
    return folder


def _npm(*arguments: str, cwd: Path) -> str:
    return run("npm", "--loglevel=error", *arguments, cwd=cwd)


def run(*command: str, cwd: Path) -> str:
    """Run a command that is to succeed; what it says."""
    result = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
