"""The pages: a start page with the bots, and one page per bot."""

from dataclasses import dataclass

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse


@dataclass(frozen=True, kw_only=True)
class Bot:
    """The texts of a bot's page, and what its chat offers."""

    slug: str
    title: str
    description: str
    source: str
    #: Whether its messages may have files.
    files: bool = False
    #: Whether it has profiles to choose from.
    profiles: bool = False
    #: Whether logged-in users may continue earlier conversations.
    threads: bool = False
    #: Whether its page sends plain HTTP requests; such a page has its own template.
    by_http: bool = False

    @property
    def url(self) -> str:
        return reverse("chat", args=[self.slug])

    @property
    def ws_path(self) -> str:
        return f"/ws/{self.slug}/"


BOTS = {
    bot.slug: bot
    for bot in (
        Bot(
            slug="counter",
            title="Counter",
            description="Counts your messages. Open it in two tabs: each counts on its own.",
            source="demo_project/bots/counter.py",
        ),
        Bot(
            slug="tutorial",
            title="Counter, Chainlit's way",
            description="The same bot from Chainlit's tutorial, with its import line changed.",
            source="demo_project/bots/tutorial.py",
        ),
        Bot(
            slug="storyteller",
            title="Storyteller",
            description="Tells a story, word by word. Stop it half way, or reload in the middle.",
            source="demo_project/bots/storyteller.py",
        ),
        Bot(
            slug="quiz",
            title="Quiz",
            description="Asks your name and three questions, and waits a minute for each answer.",
            source="demo_project/bots/quiz.py",
        ),
        Bot(
            slug="todo",
            title="To do",
            description="Write down what is to do. Buttons tick it off or delete it.",
            source="demo_project/bots/todo.py",
        ),
        Bot(
            slug="echo",
            title="Echo",
            description="Repeats what you write. Try its settings: loud, backwards, several times.",
            source="demo_project/bots/echo.py",
        ),
        Bot(
            slug="shelf",
            title="Shelf",
            description="Give it files: it tells their types and sizes, and makes a list of them.",
            source="demo_project/bots/shelf.py",
            files=True,
        ),
        Bot(
            slug="guide",
            title="Guide",
            description="Choose one of three guides, then name a place. Log in for a fourth.",
            source="demo_project/bots/guide.py",
            profiles=True,
        ),
        Bot(
            slug="vault",
            title="Vault",
            description="Asks for two keys, kept only in your tab and in memory. Any text will do.",
            source="demo_project/bots/vault.py",
        ),
        Bot(
            slug="assistant",
            title="Assistant",
            description="Quotes what you said before. Log in to go on with earlier conversations.",
            source="demo_project/bots/assistant.py",
            threads=True,
        ),
        Bot(
            slug="librarian",
            title="Librarian",
            description="Answers from the documentation: its search is a step, a page is a file.",
            source="demo_project/bots/librarian.py",
        ),
        Bot(
            slug="clerk",
            title="Clerk",
            description="Tells how many conversations are open. Its handlers are plain functions.",
            source="demo_project/bots/clerk.py",
        ),
        Bot(
            slug="telegraph",
            title="Telegraph",
            description="Sends your text back in capitals, word by word. No websocket: plain HTTP.",
            source="demo_project/bots/telegraph.py",
            by_http=True,
        ),
    )
}


def index(request: HttpRequest) -> HttpResponse:
    return render(request, "index.html", {"bots": BOTS.values()})


def chat(request: HttpRequest, slug: str) -> HttpResponse:
    if slug not in BOTS:
        raise Http404(f"There is no bot named {slug}.")
    bot = BOTS[slug]
    if bot.by_http:
        return render(request, f"{bot.slug}.html", {"bot": bot})
    threads = bot.threads and request.user.is_authenticated
    return render(request, "chat.html", {"bot": bot, "threads": threads})
