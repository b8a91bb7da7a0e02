"""The board: notes with a file, by a form."""

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from board.models import Note


class NoteForm(forms.ModelForm):
    class Meta:
        model = Note
        fields = ("text", "attached")


def notes(request: HttpRequest) -> HttpResponse:
    form = NoteForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        form.save()
        return redirect("/")
    return render(request, "board/notes.html", {"form": form, "notes": Note.objects.order_by("-made")[:50]})


def health(request: HttpRequest) -> HttpResponse:
    Note.objects.exists()
    return HttpResponse("ok")
