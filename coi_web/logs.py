"""Structured logs: one JSON object a line, with the request id bound by ``coi_web.web``."""

from __future__ import annotations

import logging
import logging.config
import re

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET_KEY = re.compile(r"secret|password|token|cookie|authorization", re.IGNORECASE)


#: The address of a one-time link is itself the secret; Django logs paths of refused forms.
_SIGN_IN_LINK = re.compile(r"(/sign-in/)[^/\s\"']+")


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace the values of keys that are named like secrets: the last net, not the first."""
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = "[hidden]"
        elif isinstance(value, str) and "/sign-in/" in value:
            event[key] = _SIGN_IN_LINK.sub(r"\1[hidden]", value)
    return event


def logging_config(*, level: str) -> None:
    """Set up structlog and the standard library's logging alike.  Safe to repeat."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        hide_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "json": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.format_exc_info,
                        structlog.processors.JSONRenderer(),
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
            "root": {"handlers": ["stderr"], "level": level.upper()},
            "loggers": {
                "django.request": {"level": "ERROR"},
                "uvicorn.access": {"level": "WARNING"},
                "daphne": {"level": "WARNING"},
                "kombu": {"level": "WARNING"},
                "celery.app.trace": {"level": "WARNING"},
                "urllib3": {"level": "WARNING"},
                "ws4py": {"level": "WARNING"},
            },
        }
    )
