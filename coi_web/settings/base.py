"""What is the same in every deployment; addresses and secrets come from the environment."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from coi_web.logs import logging_config
from coi_web.settings import env

BASE_DIR = Path(__file__).resolve().parents[2]
COI_DATA_DIR = env.path("COI_DATA_DIR", BASE_DIR / "var")

DEBUG = False
COI_PUBLIC_URL = env.text("COI_PUBLIC_URL", "http://127.0.0.1:8470").rstrip("/")
_public = urlsplit(COI_PUBLIC_URL)
ALLOWED_HOSTS = env.words(
    "COI_ALLOWED_HOSTS", [_public.hostname or "127.0.0.1", "127.0.0.1", "localhost", "[::1]"]
)
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
if env.boolean("COI_BEHIND_TLS_PROXY", False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

INSTALLED_APPS = [
    "daphne",
    "coi_web.audit.apps.AuditConfig",
    "coi_web.accounts.apps.AccountsConfig",
    "coi_web.operations.apps.OperationsConfig",
    "sessions.apps.SessionsConfig",
    "monitoring.apps.MonitoringConfig",
    "coi_web.apps.PanelConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "channels",
    "csp",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
]

MIDDLEWARE = [
    "coi_web.web.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "coi_web.web.ErrorMiddleware",
    "coi_web.refusals.RefusalMiddleware",
]

ROOT_URLCONF = "coi_web.urls"
ASGI_APPLICATION = "coi_web.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "coi_web" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "coi_web.frame.frame",
            ],
        },
    },
]

# -- people ------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "coi_accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_URL_PATH = "/account/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL_PATH
ACCOUNT_ADAPTER = "coi_web.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_LOGOUT_REDIRECT_URL = LOGOUT_REDIRECT_URL
ACCOUNT_RATE_LIMITS = {"login_failed": "30/m/ip,5/5m/key"}
ACCOUNT_PRESERVE_USERNAME_CASING = False
ACCOUNT_USERNAME_VALIDATORS = "coi_web.accounts.models.username_validators"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_ALLOW_UNVERIFIED_EMAIL = True
SESSION_COOKIE_NAME = "coi_web_session"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = int(timedelta(days=14).total_seconds())
CSRF_COOKIE_NAME = "coi_web_csrf"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "coi_web.web.csrf_failure"
EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
EMAIL_SUBJECT_PREFIX = "[COI Web] "

# -- security headers --------------------------------------------------------------------------------------
X_FRAME_OPTIONS = "DENY"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# -- time, text, static ------------------------------------------------------------------------------------
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
LANGUAGE_CODE = "en-us"
STATIC_URL = "/static/"
STATIC_ROOT = COI_DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Ours only: the browsable API and other packages' assets are not served.
STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]

# -- the engine --------------------------------------------------------------------------------------------
COI_INCUS: dict[str, object] = {
    "backend": "incus",
    "endpoint": env.text("COI_INCUS_ENDPOINT", "/var/lib/incus/unix.socket"),
    "project": env.text("COI_INCUS_PROJECT", "default"),
    "client_cert": env.text("COI_INCUS_CLIENT_CERT"),
    "client_key": env.text("COI_INCUS_CLIENT_KEY"),
    "server_cert": env.text("COI_INCUS_SERVER_CERT"),
    "timeout_s": env.integer("COI_INCUS_TIMEOUT_S", 30, least=1, most=600),
}
COI_INCUS_POOL = env.text("COI_INCUS_POOL", "coi-web")
COI_INCUS_NETWORK = env.text("COI_INCUS_NETWORK", "coiweb0")
COI_CONTAINER_PREFIX = env.text("COI_CONTAINER_PREFIX", "coi-")
COI_DEFAULT_IMAGE = env.text("COI_DEFAULT_IMAGE", "coi-default")
COI_MAX_SESSIONS_PER_USER = env.integer("COI_MAX_SESSIONS_PER_USER", 10, least=1)
COI_MAX_WORKSPACES_PER_USER = env.integer("COI_MAX_WORKSPACES_PER_USER", 20, least=1)
COI_MAX_TERMINALS_PER_USER = env.integer("COI_MAX_TERMINALS_PER_USER", 30, least=1)
COI_MAX_TERMINALS_PER_SESSION = env.integer("COI_MAX_TERMINALS_PER_SESSION", 20, least=1)

# -- queue -------------------------------------------------------------------------------------------------
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TASK_PUBLISH_RETRY = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A task that was taken by a killed worker comes back after the visibility time-out; what matters happens
# earlier through the operation's heartbeat, see coi_web/operations/recovery.py.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 3,
    "socket_timeout": 10,
}
# Entries expire a little before the next one is due, so that a backlog cannot pile up.
CELERY_BEAT_SCHEDULE = {
    "operations-recover": {
        "task": "coi_web.operations.tasks.recover",
        "schedule": 5.0,
        "options": {"expires": 4.0},
    },
    "sessions-reconcile": {
        "task": "sessions.tasks.reconcile",
        "schedule": 15.0,
        "options": {"expires": 14.0},
    },
}

# -- API ---------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "coi_web.accounts.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "coi_web.api.schema.PanelSchema",
    "EXCEPTION_HANDLER": "coi_web.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "COI Web",
    "VERSION": "1",
    "DESCRIPTION": "Everything that a page of the panel does. Authorization: Bearer coi_…",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "OperationState": "coi_web.operations.models.Operation.State",
        "SessionState": "sessions.api.SESSION_STATES",
        "WorkspaceState": "sessions.models.WorkspaceState",
    },
}

LOGGING_CONFIG = None
logging_config(level=env.choice("COI_LOG_LEVEL", "info", ("debug", "info", "warning", "error")))
