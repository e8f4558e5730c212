"""
Answers questions about chatsessions from its own documentation, with the passages found there.

No network and no model: it searches the pages of ``docs/`` by their words. The search is a step,
the passage is Markdown with its code, and the whole page is a file.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import log
from pathlib import Path

from chatsessions import Chat, ChatFile, Message, Starter, Step, context, make_async, user_session

chat = Chat("librarian", message_format="markdown")

DOCS = Path(__file__).resolve().parents[2] / "docs"
#: Words per second.
PACE = 80
#: Characters of a passage. One that is longer is cut between two paragraphs.
LONGEST = 1500
#: How many other passages are named.
OTHERS = 3
#: Words that are in every question.
COMMON = frozenset(
    """
    a about an and any are as at be but by can do does for from get has have how i if in into is
    it its me my of on one or so that the their them there they this to use was we what when where
    which who why will with you your
    """.split()  # noqa: SIM905, RUF100  # forty lines otherwise
)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """The text under one heading of a page."""

    page: Path
    title: str
    heading: str
    text: str
    words: Counter[str]


@chat.starters
async def starters() -> list[Starter]:
    return [
        Starter("Stream an answer", "How do I stream a message token by token?", "play"),
        Starter("Crashes", "What happens to a running turn when the server crashes?", "refresh"),
        Starter("Uploads", "How does a handler read files that a user uploads?", "paperclip"),
    ]


@chat.on_message
async def answer(message: Message) -> None:
    async with Step("Search the documentation", "retrieval", input=message.content) as step:
        found = await make_async(search)(message.content)
        step.output = "\n".join(f"{one.title}: {one.heading}" for one in found) or "nothing"
    if not found:
        await Message("There is nothing about that in the documentation.").send()
        return
    best, *others = found
    reply = Message()
    for word in re.findall(r"\s*\S+", quoted(best, others)):
        await reply.stream_token(word)
        await asyncio.sleep(1 / PACE)
    reply.files = [await whole(best.page)]
    await reply.send()


def quoted(best: Passage, others: Sequence[Passage]) -> str:
    """Return the answer: a passage, where it is from, and where else to look."""
    text = f"From {named(best)}:\n\n{shortened(best.text)}"
    if others:
        also = "\n".join(f"- {named(one)}" for one in others)
        text += f"\n\nSee also:\n\n{also}"
    return text


def named(passage: Passage) -> str:
    if passage.heading == passage.title:
        return f"**{passage.title}**"
    return f"**{passage.title}**, *{passage.heading}*"


async def whole(page: Path) -> ChatFile:
    """Return a page as a file of the session, the same one each time."""
    files = user_session.get("pages", {})
    if page.stem not in files:
        files[page.stem] = await context.session.save_file(
            page.name, readable(page), mime="text/markdown"
        )
        user_session["pages"] = files
    file: ChatFile = files[page.stem]
    return file


# The search


def search(question: str) -> list[Passage]:
    """
    Return the passages that have most of a question's words, the best one first.

    They are ranked by BM25: rare words count more, and so do words of short passages.
    """
    passages = library()
    average = sum(one.words.total() for one in passages) / len(passages)
    ranked = []
    for index, one in enumerate(passages):
        usual = 0.3 + 0.9 * one.words.total() / average
        score = sum(
            rarity(word) * one.words[word] / (one.words[word] + usual)
            for word in set(words(question))
        )
        ranked.append((score, -index))
    best = sorted((score for score in ranked if score[0] > 0), reverse=True)[: OTHERS + 1]
    return [passages[-index] for _, index in best]


@cache
def rarity(word: str) -> float:
    """Return the weight of a word: the fewer passages have it, the higher."""
    count = sum(word in one.words for one in library())
    return log(1 + len(library()) / (1 + count))


@cache
def library() -> list[Passage]:
    """Return the passages of all pages."""
    pages = sorted(DOCS.glob("*.md")) + sorted(DOCS.glob("recipes/*.md"))
    return [passage for page in pages if page.stem != "index" for passage in passages_of(page)]


def passages_of(page: Path) -> Iterator[Passage]:
    text = readable(page)
    title = text.partition("\n")[0].removeprefix("# ")
    # A comment in a block of code begins as a heading does.
    blocks = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    marked = "".join(
        block if block.startswith("```") else re.sub(r"^#+ ", "\f", block, flags=re.MULTILINE)
        for block in blocks
    )
    for section in marked.split("\f")[1:]:
        heading, _, body = section.partition("\n")
        if body.strip():
            counted = Counter(words(body))
            # The titles above a passage say what it is about, so their words count more.
            for word in words(f"{title} {heading}"):
                counted[word] += 5
            yield Passage(page=page, title=title, heading=heading, text=body.strip(), words=counted)


def readable(page: Path) -> str:
    """Return the text of a page with included code, and without links to other pages."""
    text = re.sub(r"<!--.*?-->\n?", "", page.read_text(), flags=re.DOTALL)
    text = re.sub(
        r"^```\{literalinclude\} (\S+)\n:language: (\w+).*?^```$",
        lambda found: f"```{found[2]}\n{(page.parent / found[1]).read_text()}```",
        text,
        flags=re.MULTILINE | re.DOTALL,
    )
    return re.sub(r"\[([^\]\[]+)\]\((?!https?:)[^)\s]+\)", r"\1", text)


def words(text: str) -> list[str]:
    """Return the words of a text without their endings, and without common words."""
    found = (word for word in re.findall(r"[a-z]{2,}", text.lower()) if word not in COMMON)
    return [re.sub(r"(?<=..)(?:ing|ed|es|s|e)$", "", word) for word in found]


def shortened(text: str) -> str:
    """Return the paragraphs at a text's beginning that are not too long together."""
    blocks = re.findall(r"^```.*?^```$|^.+?(?=\n\n|\n```|\Z)", text, re.MULTILINE | re.DOTALL)
    kept: list[str] = []
    for block in blocks:
        if kept and sum(map(len, kept)) + len(block) > LONGEST:
            return "\n\n".join([*kept, "…"])
        kept.append(block.strip())
    return "\n\n".join(kept)
