"""Who does something: a person, a person's token, or the panel itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coi_web.accounts.models import User


@dataclass(frozen=True, slots=True)
class Actor:
    """Given to every service as its first argument; services never see a request.

    ``kind`` is ``user``, ``token``, ``system`` or ``anonymous``; ``user`` is None for the last two.
    """

    kind: str
    name: str
    user: User | None = None
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    token_name: str = ""

    @classmethod
    def of(
        cls,
        user: Any,
        *,
        kind: str = "user",
        ip: str = "",
        user_agent: str = "",
        request_id: str = "",
        token_name: str = "",
    ) -> Actor:
        """The actor for a signed-in ``user``; anybody else becomes ``anonymous``."""
        if not getattr(user, "is_authenticated", False):
            kind, name, user = "anonymous", "anonymous", None
        else:
            name = user.get_username()
        return cls(kind, name, user, ip, user_agent, request_id, token_name)

    @property
    def user_id(self) -> int | None:
        return None if self.user is None else self.user.pk

    def require_user(self) -> User:
        """The person; raises TypeError where a service was wrongly called by nobody."""
        if self.user is None:
            raise TypeError(f"{self.kind} actor where a person is needed")
        return self.user


SYSTEM = Actor(kind="system", name="system")
