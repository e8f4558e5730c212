"""``path("chats/", include("chatsessions.urls"))``: what pages of chats ask for by HTTP."""

from django.urls import path

from .views.profiles import profiles

app_name = "chatsessions"
urlpatterns = [
    path("profiles/", profiles, name="profiles"),
]
