"""What people read is in their language: complete catalogues, and texts that can be translated."""

from __future__ import annotations

import ast
import gettext
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import polib
import pytest
from django.template import engines
from django.template.base import Node, Template
from django.templatetags.i18n import BlockTranslateNode, TranslateNode

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "chatsessions"
LANGUAGES = ("de", "es", "fr")

#: What marks a message in Python, and how many of the arguments are messages.
MARKS = {
    "_": 1,
    "gettext": 1,
    "gettext_lazy": 1,
    "gettext_noop": 1,
    "ngettext": 2,
}
#: Modules whose words are for developers: commands, checks, tests of theirs.
FOR_DEVELOPERS = ("checks", "cli", "management", "migrations", "testing")


def modules() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    return [path for path in found if path.relative_to(PACKAGE).parts[0] not in FOR_DEVELOPERS]


def templates() -> list[Path]:
    return sorted((PACKAGE / "templates").rglob("*.html")) + sorted(
        (PACKAGE / "cli" / "project" / "templates").rglob("*.html")
    )


def scripts() -> list[Path]:
    return sorted((ROOT / "frontend").glob("[!n]*/**/*.ts"))


def name_of(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def text_of(node: ast.AST) -> str | None:
    """The text of a literal; None for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def messages_in(path: Path) -> Iterator[tuple[str, str | None]]:
    """The messages of a module, each with its plural."""
    for call in calls(ast.parse(path.read_text())):
        count = MARKS.get(name_of(call), 0)
        if count and call.args and (message := text_of(call.args[0])) is not None:
            yield message, text_of(call.args[1]) if count == 2 else None


def nodes(path: Path) -> list[Node]:
    parsed = engines["django"].from_string(path.read_text()).template
    assert isinstance(parsed, Template)
    return parsed.nodelist.get_nodes_by_type(Node)


def messages_of_template(path: Path) -> Iterator[tuple[str, str | None]]:
    for node in nodes(path):
        if isinstance(node, TranslateNode):
            yield str(node.filter_expression.var.literal), None
        elif isinstance(node, BlockTranslateNode):
            singular = node.render_token_list(node.singular)[0]
            yield singular, node.render_token_list(node.plural)[0] if node.plural else None


def said() -> set[tuple[str, str | None]]:
    """All messages of the package's Python and templates."""
    found = {message for path in modules() for message in messages_in(path)}
    return found | {message for path in templates() for message in messages_of_template(path)}


def literal(text: str) -> str:
    """A literal of JavaScript as a text."""
    decoded: str = json.loads(text)
    return decoded


def said_by_the_page() -> set[tuple[str, str | None]]:
    """All messages of the page's scripts."""
    text = r'("(?:[^"\\]|\\.)*")'
    found: set[tuple[str, str | None]] = set()
    for path in scripts():
        code = path.read_text()
        found |= {(literal(one), None) for one in re.findall(rf"\bgettext\({text}", code)}
        plurals = re.findall(rf"\bngettext\({text}, {text}", code)
        found |= {(literal(one), literal(other)) for one, other in plurals}
    return found


# The catalogues

SOURCES = {"django": said, "djangojs": said_by_the_page}


def catalogue(language: str, domain: str) -> polib.POFile:
    folder = PACKAGE / "locale" / language / "LC_MESSAGES"
    return polib.pofile(str(folder / f"{domain}.po"))


def translations(entry: polib.POEntry) -> list[str]:
    return list(entry.msgstr_plural.values()) if entry.msgid_plural else [entry.msgstr]


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)[a-z]|<code>[^<]*</code>", text))


@pytest.mark.parametrize("domain", SOURCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_message_is_translated(language: str, domain: str) -> None:
    """If one is not: ``make messages``, translate it in the ``.po`` files, ``make messages``."""
    known = {entry.msgid: entry for entry in catalogue(language, domain)}
    expected = SOURCES[domain]()
    assert set(known) == {message for message, _ in expected}
    for message, plural in expected:
        entry = known[message]
        if plural is not None:
            assert entry.msgid_plural == plural
        assert not entry.fuzzy, message
        assert all(translations(entry)), message


@pytest.mark.parametrize("domain", SOURCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_has_the_placeholders_of_its_message(language: str, domain: str) -> None:
    for entry in catalogue(language, domain):
        # A singular may say "one" instead of a number.
        needed = placeholders(entry.msgid)
        allowed = needed | placeholders(entry.msgid_plural or "")
        for text in translations(entry):
            assert needed <= placeholders(text) <= allowed, text
            assert text[:1].isspace() == entry.msgid[:1].isspace(), text
            assert text.endswith("…") == entry.msgid.endswith("…"), text


@pytest.mark.parametrize("domain", SOURCES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_source(language: str, domain: str) -> None:
    folder = PACKAGE / "locale" / language / "LC_MESSAGES"
    with (folder / f"{domain}.mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    for entry in catalogue(language, domain):
        if entry.msgid_plural:
            for count in (0, 1, 2, 5, 1_000_000):
                form = compiled.plural(count)  # type: ignore[attr-defined]
                told = compiled.ngettext(entry.msgid, entry.msgid_plural, count)
                assert told == entry.msgstr_plural[form]
        else:
            assert compiled.gettext(entry.msgid) == entry.msgstr


# What could not be translated

#: Errors whose detail people may read, and which argument that is.
DETAILS = {"FrameError": 1, "FileRefused": 1, "AccessRefused": 1, "RequestRefused": 2}
#: Codes of errors that only a client with a fault sees: its developer reads them.
OF_DEVELOPERS = {"n_gap", "hello_expected", "method_not_allowed", "bad_request", "too_large"}
#: ``bad_frame`` is both: what a form sent, and what is no frame. These say the latter.
NO_FRAME = ("protocol/", "auth/env.py", "websocket/connection.py")


def is_plain(node: ast.AST) -> bool:
    """Whether this is a text as it stands: a literal, or one with values in it."""
    return text_of(node) is not None or isinstance(node, ast.JoinedStr)


def test_errors_that_people_see_can_be_translated() -> None:
    wrong = []
    for path in modules():
        where = str(path.relative_to(PACKAGE))
        for call in calls(ast.parse(path.read_text())):
            index = DETAILS.get(name_of(call))
            if index is None or len(call.args) <= index or not is_plain(call.args[index]):
                continue
            code = text_of(call.args[index - 1])
            if code not in OF_DEVELOPERS and not where.startswith(NO_FRAME):
                wrong.append(f"{where}:{call.lineno}")
    assert wrong == []


def test_words_of_models_and_admin_can_be_translated() -> None:
    """Verbose names, help texts, titles of filters, descriptions of columns and actions."""
    wrong = []
    keywords = {"verbose_name", "verbose_name_plural", "help_text", "description"}
    for path in modules():
        where = str(path.relative_to(PACKAGE))
        if not where.startswith(("admin/", "models.py", "apps.py")):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg in keywords and is_plain(node.value):
                wrong.append(f"{where}:{node.value.lineno}")
            elif isinstance(node, ast.Assign) and is_plain(node.value):
                names = {name.id for name in node.targets if isinstance(name, ast.Name)}
                if names & {*keywords, "title", "search_help_text"}:
                    wrong.append(f"{where}:{node.lineno}")
    assert wrong == []


class Words(HTMLParser):
    """The words of a template that stand in it as they are."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        if re.search(r"[A-Za-z]{2}", data):
            self.found.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("title", "alt", "aria-label", "placeholder") and value:
                self.handle_data(value)


@pytest.mark.parametrize("path", templates(), ids=lambda path: path.name)
def test_a_template_has_no_words_of_its_own(path: Path) -> None:
    no_words = r"{% (blocktranslate|block bodyclass)\b.*?{% end(blocktranslate|block) %}"
    translated = re.sub(no_words, "", path.read_text())
    assert Words(re.sub(r"{%.*?%}|{{.*?}}", "", translated)).found == []


#: Literals of the element that begin like words, and are none that anybody reads.
NO_WORDS = {
    # keys, and a kind of what is dragged
    *("ArrowDown", "ArrowLeft", "ArrowRight", "ArrowUp", "End", "Enter", "Escape", "Files", "Home"),
    # headers, and the name of an error
    *("Accept", "Bearer", "Content-Disposition", "Content-Length", "Content-Type", "UploadError"),
    "X-File-Name",
    # the author of a bot without a name, on the wire
    "Assistant",
}


def literals(code: str) -> Iterator[str]:
    """The texts of a script, without those of comments and of the console, for developers."""
    code = re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", code, flags=re.DOTALL)
    code = re.sub(r"console\.\w+\(.*?\);", "", code, flags=re.DOTALL)
    for plain, template in re.findall(r'"((?:[^"\\\n]|\\.)*)"|`((?:[^`\\]|\\.)*)`', code):
        yield plain or template


@pytest.mark.parametrize(
    "path",
    [path for path in scripts() if path.parent.name == "element" and path.name != "texts.ts"],
    ids=lambda path: path.name,
)
def test_the_element_has_its_words_from_texts(path: Path) -> None:
    words = [text for text in literals(path.read_text()) if re.match("[A-Z][a-z]", text)]
    assert {text.split(" ")[0] for text in words} - NO_WORDS == set()


def test_every_word_of_texts_can_be_translated() -> None:
    code = (ROOT / "frontend" / "element" / "texts.ts").read_text()
    unmarked = re.sub(r"\bn?gettext\([^)]*\)", "", re.sub(r"%\(\w+\)s", "", code))
    known = {"./language.ts", "megabyte", "string", "object", "chatsessions.texts", ", ", ""}
    assert {text for text in literals(unmarked) if not text.startswith("%")} - known == set()
