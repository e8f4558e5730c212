"""The demo's pages, and some that only put the template tag where it may be put."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import Context, RequestContext, Template
from django.urls import URLPattern, include, path
from django.views.decorators.clickjacking import xframe_options_exempt

from chatsessions.views import ChatPage
from tests.browser.bots import chat

BARE = """{% load chatsessions %}{% chat_session "/ws/parrot/" %}"""

POLITE = """<!doctype html><html lang="en"><title>Parrot</title>{% load chatsessions %}
{% chat_session "/ws/parrot/" heading="Parrot" nonce=nonce %}</html>"""

VISITORS = """<!doctype html><html lang="en"><title>Visitors</title>{% load chatsessions %}
{% chat_session "/ws/visitors/" %}</html>"""

TWINS = """<!doctype html><html lang="en"><title>Twins</title>{% load chatsessions %}
{% if first %}{% chat_session "/ws/counter/" id=first %}{% else %}
{% chat_session "/ws/counter/" %}{% chat_session "/ws/counter/" %}
{% chat_session "/ws/counter/" id="third" placeholder="Count me" %}
{% endif %}</html>"""

FRAMED = """<!doctype html><html lang="en"><title>Framed</title>{% load chatsessions %}
{% chat_session "/ws/parrot/" parent_origin=named %}</html>"""

#: Its question for a file can be answered.
FILES = """<!doctype html><html lang="en"><title>Files</title>{% load chatsessions %}
{% chat_session "/ws/parrot/" files=True %}</html>"""

CRITIC = """<!doctype html><html lang="en"><title>Critic</title>{% load chatsessions %}
<main><h1>A page</h1>{% chat_session "/ws/critic/" heading="Critic" %}</main></html>"""

PATIENT = """<!doctype html><html lang="en"><title>Patient</title>
<meta name="viewport" content="width=device-width">{% load chatsessions %}
<main><h1>A page</h1>
{% chat_session "/ws/patient/" heading="Patient" files=True %}</main></html>"""

#: It begins with the last messages, though there are few.
KEEPER = """<!doctype html><html lang="en"><title>Keeper</title>{% load chatsessions %}
{% chat_session "/ws/keeper/" heading="Keeper" latest="2" %}</html>"""

WORKSHOP = """<!doctype html><html lang="en"><title>Workshop</title>{% load chatsessions %}
{% load static %}
<link rel="modulepreload" href="{% static 'chatsessions/panels.js' %}" nonce="{{ nonce }}">
<main><h1>A page</h1>
{% chat_session "/ws/workshop/" heading="Workshop" chat="workshop" files=True nonce=nonce \
export=True %}
</main></html>"""

#: In a page whose own style is meant for itself.
WIDGET = """<!doctype html><html lang="en"><title>Shop</title>
<meta name="viewport" content="width=device-width">{% load chatsessions %}
<style nonce="{{ nonce }}">
  html { font-size: 62.5%; letter-spacing: 3px; text-transform: uppercase; line-height: 3; }
  * { color: rgb(255, 0, 0) !important; font-family: cursive; visibility: inherit; }
  button { transform: rotate(10deg); }
  dialog { display: block !important; }
</style>
<h1>Shop</h1><p><a href="/widget/">Elsewhere</a> <button>Buy</button></p>
{% chat_widget "/ws/parrot/" heading="Help" export=True nonce=nonce %}</html>"""

#: Nothing that a script makes into markup, and pictures of one host.
WRITER = """<!doctype html><html lang="en"><title>Writer</title>{% load chatsessions %}
{% chat_session "/ws/writer/" heading="Writer" nonce=nonce \
image_hosts="pictures.example" latest="all" %}
</html>"""
#: Of a site whose language is not that of the visitor's browser.
ARABIC = """<!doctype html><html lang="{{ language }}" dir="{{ direction }}"><title>ببغاء</title>
{% load chatsessions %}{% chat_session src heading="ببغاء" language=language %}</html>"""

AROUND = """<!doctype html><html lang="en"><title>Around</title>
<iframe src="{{ frame }}/framed/?named={{ named|urlencode }}" width="500" height="500"></iframe>
<script>
  window.heard = [];
  addEventListener("message", ({ data, origin }) => heard.push([data, origin]));
</script></html>"""

#: As docs/page.md says it: modules of one's own, before the element and beside it.
GERMAN = """<!doctype html><html lang="de"><title>Papagei</title>{% load chatsessions static %}
<script type="module">
  import { texts } from "{% static 'chatsessions/texts.js' %}";
  texts.send = "Senden";
  texts.states.online = "Verbunden";
</script>
{% chat_session "/ws/parrot/" %}
<script type="module">
  import { ChatClient } from "{% static 'chatsessions/client.js' %}";
  window.client = new ChatClient("/ws/counter/");
  window.said = [];
  client.addEventListener("event", ({ detail }) => said.push(detail.data.content));
  client.connect();
</script></html>"""

#: Addresses without a slash at their beginning, on a page that says what they are relative to.
RELATIVE = """<!doctype html><html lang="en"><title>Relative</title><base href="/">
{% load chatsessions static %}{% chat_session "ws/parrot/" %}
<script type="module">
  import { ChatClient } from "{% static 'chatsessions/client.js' %}";
  window.client = new ChatClient("ws/counter/");
  client.connect();
</script></html>"""

#: Everything from here, nothing inline.
BY_SOURCE = "default-src 'none'; script-src 'self'; connect-src 'self'"
#: The page's own script is known by its nonce alone.
BY_NONCE = "default-src 'none'; script-src 'nonce-c2Vzc2lvbg'; connect-src 'self'"
TRUSTED = f"{BY_NONCE}; style-src 'nonce-c2Vzc2lvbg'; require-trusted-types-for 'script'"

#: And no script makes markup of a text.
BY_NONCE_AND_TYPES = (
    f"{BY_NONCE}; img-src https://pictures.example; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


NONCE = "c2Vzc2lvbg"


def answer(template: str, *, policy: str = "", **values: Any) -> HttpResponse:
    response = HttpResponse(Template(template).render(Context(values)))
    if policy:
        response["Content-Security-Policy"] = policy
    return response


def page(address: str, template: str, **values: Any) -> URLPattern:
    return path(address, lambda request: answer(template, **values, **request.GET.dict()))


def visitors(request: HttpRequest) -> HttpResponse:
    """Of a browser that has a session of Django's: it knows the conversation at the login."""
    request.session["has_been_here"] = True
    return HttpResponse(Template(VISITORS).render(RequestContext(request)))


def arabic(request: HttpRequest) -> HttpResponse:
    language = request.GET["language"]
    src = f"/ws/{request.GET.get('bot', 'parrot')}/"
    direction = "rtl" if language == "ar" else "ltr"
    return answer(ARABIC, src=src, language=language, direction=direction)


@xframe_options_exempt
def framed(request: HttpRequest) -> HttpResponse:
    return answer(FRAMED, named=request.GET["named"])


urlpatterns = [
    page("bare/", BARE),
    page("twins/", TWINS),
    page("german/", GERMAN),
    page("critic/", CRITIC),
    page("patient/", PATIENT),
    page("keeper/", KEEPER),
    page("workshop/", WORKSHOP),
    page("with-files/", FILES),
    page("pages/relative/", RELATIVE),
    page("around/", AROUND),
    page("writer/", WRITER, policy=BY_NONCE_AND_TYPES, nonce=NONCE),
    page("csp/source/", POLITE, policy=BY_SOURCE),
    page("csp/nonce/", POLITE, policy=BY_NONCE, nonce=NONCE),
    page("csp/workshop/", WORKSHOP, policy=TRUSTED, nonce=NONCE),
    page("widget/", WIDGET, policy=TRUSTED, nonce=NONCE),
    path("page/", ChatPage.as_view(chat=chat, url="ws/parrot/")),
    path("visitors/", visitors),
    path("arabic/", arabic),
    path("framed/", framed),
    path("", include("demo_project.urls")),
]
