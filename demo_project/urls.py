from django.contrib import admin
from django.urls import include, path

from chatsessions.http.view import ChatView

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("chat/<slug:slug>/", views.chat, name="chat"),
    path(
        "http/telegraph/",
        ChatView.as_view(chat="demo_project.bots.telegraph.chat"),
        name="telegraph",
    ),
    path("chats/", include("chatsessions.urls")),
    path("admin/", admin.site.urls),
]
