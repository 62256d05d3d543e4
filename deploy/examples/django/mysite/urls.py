"""Which address belongs to which app."""

from django.urls import include, path

urlpatterns = [
    path("", include("pages.urls")),
    path("notes/", include("notes.urls")),
]
