from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("chat/<slug:slug>/", views.chat, name="chat"),
    path("admin/", admin.site.urls),
]
