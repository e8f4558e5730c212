"""The shop of the recipes, as a project has it."""

import os
import sys
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.server.settings")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "docs" / "recipes"))

from chatsessions.asgi import get_chat_application

application = get_chat_application({"ws/shop/": "htmx_bot"})
