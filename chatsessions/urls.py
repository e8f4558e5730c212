"""
``path("chats/", include("chatsessions.urls"))``: the HTTP endpoints for pages with a chat.

Ids of sessions and files are strings here, so that an invalid id gets the answer of an unknown one.
"""

from django.urls import path

from . import views
from .http import export, files, threads
from .http.responses import cross_origin

app_name = "chatsessions"

urlpatterns = [
    path("profiles/", cross_origin(views.profiles), name="profiles"),
    path("threads/", threads.thread_list, name="threads"),
    path("threads/<uuid:thread_id>/", threads.thread_detail, name="thread"),
    path("<str:session_id>/export/", cross_origin(export.export), name="export"),
    path("<str:session_id>/entries/", cross_origin(export.entries), name="entries"),
    path("<str:session_id>/files/", cross_origin(files.upload), name="files"),
    path("<str:session_id>/files/<str:file_id>/", cross_origin(files.download), name="file"),
]
