"""``path("chats/", include("chatsessions.urls"))``"""

from django.urls import path

from .views import threads

app_name = "chatsessions"

urlpatterns = [
    path("threads/", threads.thread_list, name="threads"),
    path("threads/<uuid:thread_id>/", threads.thread_detail, name="thread"),
]
