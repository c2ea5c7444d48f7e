"""Several machines behind TLS: PostgreSQL, a shared Redis, and nothing guessed."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured

from coi_web.settings import env
from coi_web.settings._services import redis_settings
from coi_web.settings.base import *  # noqa: F403
from coi_web.settings.base import COI_DATA_DIR, COI_PUBLIC_URL

SECRET_KEY = env.secret("COI_SECRET_KEY")
COI_AUDIT_KEY = env.secret("COI_AUDIT_KEY")
if not env.text("COI_REDIS_URL"):
    raise ImproperlyConfigured("COI_REDIS_URL must be set")
if not COI_PUBLIC_URL.startswith("https://"):
    raise ImproperlyConfigured("COI_PUBLIC_URL must begin with https:// in production")
_database = env.secret("COI_DATABASE_URL")
DATABASES = {"default": env.database_from_url("COI_DATABASE_URL", _database)}
globals().update(redis_settings(env.text("COI_REDIS_URL")))
STATIC_ROOT = env.path("COI_STATIC_ROOT", COI_DATA_DIR / "static")
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "coi_web.static_storage.StaticStorage"},
}
SESSION_COOKIE_SECURE = True
CSRF_COOKIE_SECURE = True
SECURE_SSL_REDIRECT = env.boolean("COI_SSL_REDIRECT", True)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_HSTS_SECONDS = env.integer("COI_HSTS_SECONDS", 31_536_000)
SECURE_HSTS_INCLUDE_SUBDOMAINS = True
SECURE_HSTS_PRELOAD = True
