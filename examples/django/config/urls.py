"""The paths of the site."""

from board.views import health, notes
from django.contrib import admin
from django.urls import path

urlpatterns = [path("", notes), path("healthz", health), path("admin/", admin.site.urls)]
