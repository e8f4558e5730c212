"""The documentation site: ``make docs`` builds it, warnings are errors."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Autodoc imports the package, and its models want a configured Django.
os.environ.setdefault("CHATSESSIONS_DATA", tempfile.mkdtemp())
os.environ["DJANGO_SETTINGS_MODULE"] = "chatsessions.cli.project.settings"

import django  # noqa: E402

django.setup()

import chatsessions  # noqa: E402

project = "chatsessions"
copyright = "the chatsessions authors"  # noqa: A001  # Sphinx's name
release = version = chatsessions.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
nitpicky = False

myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
# The README is not part of the site.
myst_url_schemes = ["http", "https", "mailto"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "undoc-members": False}

# Other projects' names are links where the build can reach their inventories.
intersphinx_mapping: dict[str, tuple[str, None]] = {}
if os.environ.get("READTHEDOCS"):
    intersphinx_mapping = {
        "python": ("https://docs.python.org/3", None),
        "django": ("https://docs.djangoproject.com/en/stable", None),
        "channels": ("https://channels.readthedocs.io/en/stable", None),
    }

html_theme = "furo"
# Read the Docs builds the main branch as "latest" and tags under their names, and lists them in
# a menu of its own.
unreleased = os.environ.get("READTHEDOCS_VERSION") == "latest"
html_title = f"chatsessions {release}{' (unreleased)' if unreleased else ''}"
html_baseurl = os.environ.get("READTHEDOCS_CANONICAL_URL", "")
