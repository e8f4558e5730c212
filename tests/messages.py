"""
``make messages``: gather what is said into ``chatsessions/locale``, and compile it.

It needs GNU gettext (on Debian: ``apt install gettext``). Who only runs the project, or its tests,
needs none: the compiled files are committed.
"""

import os
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

ROOT = Path(__file__).parent.parent
LOCALE = ROOT / "chatsessions" / "locale"
LANGUAGES = ("de", "es", "fr")


def gather(folder: Path, domain: str, extensions: list[str], *, ignore: list[str]) -> None:
    """Write the messages of the files below ``folder`` into the files of all languages."""
    os.chdir(folder)
    call_command(
        "makemessages",
        locale=LANGUAGES,
        domain=domain,
        extensions=extensions,
        ignore_patterns=ignore,
        add_location="file",
        no_obsolete=True,
    )


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    settings.LOCALE_PATHS = [LOCALE]
    for language in LANGUAGES:
        (LOCALE / language / "LC_MESSAGES").mkdir(parents=True, exist_ok=True)
    gather(ROOT / "chatsessions", "django", ["py", "html"], ignore=["project_template"])
    gather(ROOT / "frontend", "djangojs", ["ts"], ignore=["node_modules"])
    os.chdir(LOCALE.parent)
    call_command("compilemessages", locale=LANGUAGES)


if __name__ == "__main__":
    main()
