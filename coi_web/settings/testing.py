"""For the suites: SQLite in a temporary file or the PostgreSQL that the environment names, a fake engine."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from coi_web.settings import env
from coi_web.settings._services import redis_settings
from coi_web.settings.base import *  # noqa: F403
from coi_web.settings.base import ACCOUNT_RATE_LIMITS, COI_INCUS

SECRET_KEY = "for-tests-only-" + "x" * 50
COI_AUDIT_KEY = "for-tests-only-audit"
_folder = Path(tempfile.gettempdir()) / f"coi-web-test-{os.getpid()}"
_default = _folder / "test.sqlite3"
DATABASES = {"default": env.database("COI_TEST_DATABASE_URL", _default)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A file and not :memory:, so that threads of a test meet real locks.
    _folder.mkdir(mode=0o700, exist_ok=True)
    DATABASES["default"]["TEST"] = {"NAME": str(_default)}
_redis = env.text("COI_TEST_REDIS_URL")
if _redis:
    # Suites that run side by side must neither hear each other's hints nor empty each other's cache.
    _worker = env.text("PYTEST_XDIST_WORKER", "gw0")
    _url = f"{_redis}{'&' if '?' in _redis else '?'}db={int(_worker[2:])}"
    globals().update(redis_settings(_url, prefix=f"coi-web-{_worker}"))
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
CELERY_TASK_ALWAYS_EAGER = True
CELERY_TASK_EAGER_PROPAGATES = False
COI_INCUS = {**COI_INCUS, "backend": "fake"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
COI_PUBLIC_URL = "http://testserver"
ACCOUNT_RATE_LIMITS = {**ACCOUNT_RATE_LIMITS}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
WHITENOISE_AUTOREFRESH = True
