"""The error tree of the panel.

::

    CoiError
    ├── InvalidInput 400        what the person typed cannot be used
    ├── SignedOut 401           nobody is signed in
    ├── Forbidden 403           visible to this person, but not theirs to change
    ├── NotFound 404            not there, or not visible: the two are never told apart
    ├── Conflict 409            true a moment ago, no longer
    │   └── QuotaExceeded 409   a limit; data names limit, use and who can raise it
    ├── RateLimited 429
    └── IncusError 502          the engine
        ├── IncusUnavailable 503
        ├── IncusTimedOut 504
        ├── IncusRejected 502
        ├── IncusNotFound 404
        ├── IncusConflict 409
        ├── InstanceFrozen 409
        └── DiskFull 507

Every error carries two texts: ``message`` is for the person and says what to do next;
``log_detail`` is exact and goes to the log only.  ``code`` is stable: machines and tests read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class CoiError(Exception):
    """An expected refusal or failure with a text that is fit to be shown."""

    default_code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    #: Websocket close code, see sessions/terminals/protocol.py.
    close_code: ClassVar[int] = 4500

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        log_detail: str = "",
        data: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.log_detail = log_detail
        self.data: dict[str, object] = dict(data or {})
        #: Set once the refusal is in the audit log, so that it is there once.
        self.is_recorded = False


class InvalidInput(CoiError):
    """``data["field"]`` names the field where one is to blame."""

    default_code = "invalid-input"
    status = 400
    close_code = 4400


class SignedOut(CoiError):
    default_code = "signed-out"
    status = 401
    close_code = 4401


class Forbidden(CoiError):
    default_code = "forbidden"
    status = 403
    close_code = 4403


class NotFound(CoiError):
    default_code = "not-found"
    status = 404
    close_code = 4404


class Conflict(CoiError):
    default_code = "conflict"
    status = 409
    close_code = 4409


class QuotaExceeded(Conflict):
    default_code = "quota-exceeded"
    close_code = 4429


class RateLimited(CoiError):
    default_code = "rate-limited"
    status = 429
    close_code = 4429


class IncusError(CoiError):
    default_code = "incus-error"
    status = 502
    close_code = 4503


class IncusUnavailable(IncusError):
    default_code = "incus-unavailable"
    status = 503


class IncusTimedOut(IncusError):
    default_code = "incus-timed-out"
    status = 504


class IncusRejected(IncusError):
    default_code = "incus-rejected"


class IncusNotFound(IncusError):
    default_code = "incus-not-found"
    status = 404
    close_code = 4409


class IncusConflict(IncusError):
    default_code = "incus-conflict"
    status = 409
    close_code = 4409


class InstanceFrozen(IncusError):
    default_code = "instance-frozen"
    status = 409
    close_code = 4409


class DiskFull(IncusError):
    default_code = "disk-full"
    status = 507
