"""The page of the shop, and the basket in it, which HTMX fetches and changes."""

from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path

from chatsessions import Message, SessionNotFound, SessionOver, session_context, user_session


def shop(request: HttpRequest) -> HttpResponse:
    return render(request, "htmx_page.html")


def basket(request: HttpRequest, key: str) -> HttpResponse:
    try:
        with session_context(signing.loads(key, salt="basket")):
            items = list(user_session["basket"])
            gone = request.POST.get("item")
            if gone in items:
                items.remove(gone)
                user_session["basket"] = items
                Message(f"{gone} is out of your basket again.").send()
    except (signing.BadSignature, SessionNotFound, SessionOver):
        raise Http404("There is no such basket.") from None
    return render(request, "htmx_basket.html", {"items": items})


urlpatterns = [
    path("", shop),
    path("basket/<str:key>/", basket, name="basket"),
]
