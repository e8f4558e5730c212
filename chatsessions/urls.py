"""``path("chats/", include("chatsessions.urls"))``: what pages of chats ask for by HTTP."""

from django.urls import path

from .views import threads
from .views.profiles import profiles

app_name = "chatsessions"

urlpatterns = [
    path("profiles/", profiles, name="profiles"),
    path("threads/", threads.thread_list, name="threads"),
    path("threads/<uuid:thread_id>/", threads.thread_detail, name="thread"),
]
