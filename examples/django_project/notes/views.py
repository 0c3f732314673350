from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html_join

from .models import Note


@login_required
def page(request: HttpRequest) -> HttpResponse:
    notes = Note.objects.filter(owner=request.user).order_by("pk")
    return HttpResponse(format_html_join("", "<li>{}</li>", ((note.text,) for note in notes)))
