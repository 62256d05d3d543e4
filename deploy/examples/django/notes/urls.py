from django.urls import path

from notes.views import NoteCreateView, NoteListView

app_name = "notes"

urlpatterns = [
    path("", NoteListView.as_view(), name="list"),
    path("new/", NoteCreateView.as_view(), name="create"),
]
