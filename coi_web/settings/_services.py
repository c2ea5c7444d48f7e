"""The settings that a database URL and a Redis URL turn into."""

from __future__ import annotations

from typing import Any


def redis_settings(url: str, *, prefix: str = "coi-web") -> dict[str, Any]:
    """Celery, Channels and the cache on one server; ``url`` is ``redis://…`` or ``unix:///path``.

    Celery's transport spells a Unix socket ``redis+socket://``; the other two take ``unix://``.
    """
    broker = url.replace("unix://", "redis+socket://", 1) if url.startswith("unix://") else url
    return {
        "CELERY_BROKER_URL": broker,
        "CHANNEL_LAYERS": {
            "default": {
                "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "CONFIG": {"hosts": [url], "prefix": prefix},
            }
        },
        "CACHES": {
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": url,
                "KEY_PREFIX": prefix,
            }
        },
    }
