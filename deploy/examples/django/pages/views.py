import os

from django.db import DatabaseError
from django.http import JsonResponse
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from notes.models import Note


class HomeView(TemplateView):
    template_name = "pages/home.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(
            notes=Note.objects.count(),
            # What `supervisor` tells its children.
            run_id=os.environ.get("SUPERVISOR_RUN_ID", ""),
            **kwargs,
        )


@never_cache
def health(request):
    """Says whether this process can serve: it reads a table that only a migrated database has."""
    try:
        notes = Note.objects.count()
    except DatabaseError as error:
        return JsonResponse({"status": "failing", "database": str(error)}, status=503)
    return JsonResponse({"status": "ok", "notes": notes})
