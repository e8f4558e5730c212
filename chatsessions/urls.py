"""
``path("chats/", include("chatsessions.urls"))``: what pages of chats ask for by HTTP.

Ids of sessions and files are taken as text: one that is none is answered as one that is unknown.
"""

from django.urls import path

from . import views
from .http import export, files, log, threads
from .http.cors import cross_origin

app_name = "chatsessions"

urlpatterns = [
    path("profiles/", cross_origin(views.profiles), name="profiles"),
    path("threads/", threads.thread_list, name="threads"),
    path("threads/<uuid:thread_id>/", threads.thread_detail, name="thread"),
    path("<str:session_id>/export/", cross_origin(export.export), name="export"),
    path("<str:session_id>/entries/", cross_origin(log.entries), name="entries"),
    path("<str:session_id>/files/", cross_origin(files.upload), name="files"),
    path("<str:session_id>/files/<str:file_id>/", cross_origin(files.download), name="file"),
]
