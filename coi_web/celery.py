"""The Celery application: ``celery -A coi_web.celery worker``."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coi_web.settings.embedded")
os.environ.setdefault("PYLXD_WARNINGS", "none")

app = Celery("coi_web")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["coi_web.operations", "sessions", "monitoring"])
