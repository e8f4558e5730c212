from django.contrib import admin
from django.urls import include, path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("chat/<slug:slug>/", views.chat, name="chat"),
    path("chats/", include("chatsessions.urls")),
    path("admin/", admin.site.urls),
]
