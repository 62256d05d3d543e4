from django.urls import reverse_lazy
from django.views.generic import CreateView, ListView

from notes.forms import NoteForm
from notes.models import Note


class NoteListView(ListView):
    model = Note
    paginate_by = 50


class NoteCreateView(CreateView):
    model = Note
    form_class = NoteForm
    success_url = reverse_lazy("notes:list")
