"""Which engine this process uses, built at the first need and kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from coi_web.incus.api import IncusApi, IncusStreams
from coi_web.incus.types import IncusConfig

if TYPE_CHECKING:
    from coi_web.incus.fake import FakeIncus

_lock = threading.Lock()
_api: IncusApi | None = None
_streams: WeakKeyDictionary[asyncio.AbstractEventLoop, IncusStreams] = WeakKeyDictionary()
_fake: FakeIncus | None = None
_chosen: tuple[IncusApi, IncusStreams] | None = None


def get_api() -> IncusApi:
    """The engine for services and workers. Connects at its first call, not here."""
    global _api
    with _lock:
        if _chosen is not None:
            return _chosen[0]
        if _api is None:
            settings = _settings()
            if settings.get("backend") == "fake":
                _api = _the_fake()
            else:
                from coi_web.incus.client import IncusClient

                _api = IncusClient(config_from(settings))
        return _api


def get_streams() -> IncusStreams:
    """The engine's streams for the running event loop."""
    loop = asyncio.get_running_loop()
    with _lock:
        if _chosen is not None:
            return _chosen[1]
        streams = _streams.get(loop)
        if streams is None:
            # A session holds on to its loop, so the weak keys alone would keep both.
            for old in [one for one in _streams if one.is_closed()]:
                del _streams[old]
            settings = _settings()
            if settings.get("backend") == "fake":
                streams = _the_fake()
            else:
                from coi_web.incus.streams import IncusEventStreams

                streams = IncusEventStreams(config_from(settings))
            _streams[loop] = streams
        return streams


async def close_streams() -> None:
    """Closes the streams of the running event loop, before it ends. Safe to repeat."""
    with _lock:
        streams = _streams.pop(asyncio.get_running_loop(), None)
    if streams is not None:
        await streams.aclose()


def set_backend_for_tests(api: IncusApi | None, streams: IncusStreams | None) -> None:
    """What both functions return from now on; ``None, None`` goes back to the settings, with nothing kept."""
    global _api, _fake, _chosen
    with _lock:
        _api, _fake = None, None
        _streams.clear()
        _chosen = None if api is None or streams is None else (api, streams)


def config_from(settings: Mapping[str, Any]) -> IncusConfig:
    """From the mapping ``COI_INCUS``. Raises ValueError for what cannot be right."""
    default = IncusConfig()
    return IncusConfig(
        endpoint=str(settings.get("endpoint") or default.endpoint),
        project=str(settings.get("project") or default.project),
        client_cert=settings.get("client_cert") or None,
        client_key=settings.get("client_key") or None,
        server_cert=settings.get("server_cert") or None,
        timeout_s=float(settings.get("timeout_s") or default.timeout_s),
    )


def _settings() -> Mapping[str, Any]:
    from django.conf import settings

    found: Mapping[str, Any] = settings.COI_INCUS
    return found


def _the_fake() -> FakeIncus:
    global _fake
    if _fake is None:
        from coi_web.incus.fake import FakeIncus

        _fake = FakeIncus()
    return _fake
