"""The only code that talks to Incus. Everything else asks for ``get_api()`` or ``get_streams()``.

``settings.COI_INCUS`` says where the engine is; its ``backend`` is ``incus`` or ``fake``.
"""

from __future__ import annotations

from coi_web.incus.access import close_streams, get_api, get_streams, set_backend_for_tests
from coi_web.incus.api import ExecStream, IncusApi, IncusStreams

__all__ = [
    "ExecStream",
    "IncusApi",
    "IncusStreams",
    "close_streams",
    "get_api",
    "get_streams",
    "set_backend_for_tests",
]
