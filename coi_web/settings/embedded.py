"""One machine, one supervisor (``./coi-web up``): SQLite and a private Redis in the data folder."""

from __future__ import annotations

from coi_web.settings import env
from coi_web.settings._services import redis_settings
from coi_web.settings.base import *  # noqa: F403
from coi_web.settings.base import COI_DATA_DIR, COI_PUBLIC_URL

SECRET_KEY = env.secret("COI_SECRET_KEY")
COI_AUDIT_KEY = env.secret("COI_AUDIT_KEY")
DATABASES = {"default": env.database("COI_DATABASE_URL", COI_DATA_DIR / "coi-web.sqlite3")}
globals().update(redis_settings(env.text("COI_REDIS_URL", f"unix://{COI_DATA_DIR}/redis.sock")))
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "coi_web.static_storage.StaticStorage"},
}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = COI_PUBLIC_URL.startswith("https://")
