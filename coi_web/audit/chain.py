"""How whole the audit log is, cheaply enough for a page: checked piece by piece, remembered in the cache."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from django.core.cache import cache

from coi_web.audit.models import AuditHead
from coi_web.audit.services import GENESIS, verify_chain

_CACHE_KEY = "coi-audit-chain"
#: One page load checks this much at most: about 0.1 s.
ROWS_AT_ONCE = 5_000
#: After this the walk begins anew at the first event, so that a change to an old row comes to light.
AGAIN_AFTER_S = 3600


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """``checking``: whole so far, and the next call goes on."""

    status: Literal["whole", "checking", "broken"]
    checked_through: int
    newest: int
    broken_at: int | None = None
    reason: str = ""


def chain_status() -> ChainStatus:
    """Check the next rows and say how far the log is known to be whole.

    For certainty at one moment use ``verify_chain()`` (``manage.py audit verify``), which reads it all.
    """
    newest = AuditHead.objects.filter(pk=1).values_list("sequence", flat=True).first() or 0
    begun, sequence, hash_ = cache.get(_CACHE_KEY) or (time.time(), 0, GENESIS)
    if time.time() - begun > AGAIN_AFTER_S:
        begun, sequence, hash_ = time.time(), 0, GENESIS
    verdict = verify_chain(after=sequence, after_hash=hash_, most=ROWS_AT_ONCE)
    if verdict.broken_at is not None:
        cache.delete(_CACHE_KEY)
        return ChainStatus("broken", verdict.through, newest, verdict.broken_at, verdict.reason)
    cache.set(_CACHE_KEY, (begun, verdict.through, verdict.through_hash), timeout=None)
    return ChainStatus("whole" if verdict.through >= newest else "checking", verdict.through, newest)
