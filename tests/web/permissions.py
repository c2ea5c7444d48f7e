"""The permission table: every address and socket of the panel, and what each of the cast is answered.

A route without a row fails ``test_permissions.py``.  Columns are the cast; "not yours" and "not there" are
the same 404.  Objects are those of ``tests/support/world.py``: the owner's, in the team shop.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CAST = (
    "owner", "teammate", "lead", "auditor", "administrator", "other", "stranger", "disabled", "anonymous",
)  # fmt: skip
SIGNED_IN = CAST[:7]

#: Pages send people who are not signed in to the login page; the API says 401.
TO_LOGIN = "to login"


@dataclass(frozen=True, slots=True)
class Row:
    """``args`` name attributes of the world (``session.name``) or are texts that begin with "=".

    ``expect`` is a status, or TO_LOGIN; ``data`` is the form, or with ``is_api`` the JSON body.
    """

    route: str
    method: str
    expect: dict[str, int | str]
    args: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def is_api(self) -> bool:
        return self.route.startswith("api:") and self.route not in ("api:docs",)

    def __str__(self) -> str:
        extra = "".join(f" {value[1:]}" for value in self.args.values() if value.startswith("="))
        return f"{self.method} {self.route}{extra}"


def _people(**statuses: int | str) -> dict[str, int | str]:
    """``everybody`` is whoever is signed in; named people override it."""
    everybody = statuses.pop("everybody", None)
    out = statuses.pop("out", TO_LOGIN)
    expect: dict[str, int | str] = {"disabled": out, "anonymous": out}
    if everybody is not None:
        expect |= dict.fromkeys(SIGNED_IN, everybody)
    return expect | statuses


def page(route: str, *args: Any, **more: Any) -> Row:
    return _row(route, "GET", *args, **more)


def post(route: str, *args: Any, **more: Any) -> Row:
    return _row(route, "POST", *args, **more)


def api(method: str, route: str, *args: Any, **more: Any) -> Row:
    return _row(f"api:{route}", method, *args, out=401, **more)


def _row(
    route: str, method: str, args: dict[str, str] | None = None, data: dict[str, Any] | None = None,
    **statuses: int | str,
) -> Row:  # fmt: skip
    return Row(route, method, _people(**statuses), args or {}, data or {})


def _all(people: tuple[str, ...], status: int) -> dict[str, int | str]:
    return dict.fromkeys(people, status)


# -- who they are in words ---------------------------------------------------------------------------------
def team_sees(yes: int) -> dict[str, int | str]:
    """The owner, the team, auditors and administrators; others get 404."""
    return _all(CAST[:5], yes) | {"other": 404, "stranger": 404}


def operators(yes: int) -> dict[str, int | str]:
    """Owner, lead of the team, administrator may; teammate and auditor see it and get 403."""
    return team_sees(yes) | {"teammate": 403, "auditor": 403}


def owner_only(yes: int) -> dict[str, int | str]:
    """Others who see it get 403, the rest 404."""
    return team_sees(403) | {"owner": yes}


def administrators(yes: int) -> dict[str, int | str]:
    return _all(SIGNED_IN, 403) | {"administrator": yes}


def accounts_seen(yes: int) -> dict[str, int | str]:
    """Accounts exist for auditors and administrators only."""
    return _all(SIGNED_IN, 404) | {"auditor": yes, "administrator": yes}


def accounts_managed(yes: int) -> dict[str, int | str]:
    return accounts_seen(403) | {"administrator": yes}


def overseers(yes: int) -> dict[str, int | str]:
    return _all(SIGNED_IN, 403) | {"auditor": yes, "administrator": yes}


def team_managed(yes: int) -> dict[str, int | str]:
    """Leads of the team and administrators; members and auditors see it and get 403."""
    return team_sees(403) | {"lead": yes, "administrator": yes}


SESSION = {"key": "session.name"}
WORKSPACE = {"key": "spare.slug"}
OPERATION = {"public_id": "operation.public_id"}
ANA = {"username": "=ana"}
SHOP = {"slug": "=shop"}
BEN = {"slug": "=shop", "username": "=ben"}


def _act(action: str) -> dict[str, str]:
    return {"key": "session.name", "action": f"={action}"}


_SESSIONS = [
    page("sessions:overview", everybody=200),
    page("sessions:list", everybody=200),
    page("sessions:new", everybody=200),
    post("sessions:new", data={"workspace": "nobody.nothing"}, everybody=422),
    page("sessions:palette", everybody=200),
    page("sessions:detail", SESSION, **team_sees(200)),
    page("sessions:terminal", SESSION, **owner_only(200)),
    page("sessions:act", _act("stop"), **operators(200)),
    post("sessions:act", _act("stop"), **operators(302)),
    page("sessions:act", _act("end"), **operators(200)),
    post("sessions:act", _act("end"), **operators(302)),
    page("sessions:act", _act("kill"), **operators(200)),
    post("sessions:act", _act("kill"), **operators(302)),
    page("sessions:act", _act("start-again"), **owner_only(200)),
    post("sessions:act", _act("start-again"), **owner_only(409)),
    page("sessions:act", _act("dance"), everybody=404, out=404),
    page("sessions:workspaces", everybody=200),
    page("sessions:workspace-new", everybody=200),
    post("sessions:workspace-new", data={"name": "fresh", "size_gib": "1"}, everybody=302),
    page("sessions:workspace-delete", WORKSPACE, **owner_only(200) | {"administrator": 200}),
    post(
        "sessions:workspace-delete", WORKSPACE, data={"confirm": "ana.spare"},
        **owner_only(302) | {"administrator": 302},
    ),
]  # fmt: skip

_OPERATIONS = [
    page("operations:list", everybody=200),
    page("operations:drawer", everybody=302),
    page("operations:badge", everybody=200),
    page("operations:detail", OPERATION, **team_sees(200)),
    # Who may not cancel it is told so by a message on the page that the answer leads to.
    post("operations:cancel", OPERATION, **team_sees(302)),
]

_AUDIT = [
    page("audit:list", everybody=200),
    # The event is the owner's own, in the team that lea leads.
    page("audit:detail", {"sequence": "event.sequence"}, **team_sees(200) | {"teammate": 404}),
    page("health", **overseers(200)),
]

_ACCOUNT = [
    page("accounts:sign-in-link", {"token": "link"}, everybody=200, out=200),
    post(
        "accounts:sign-in-link", {"token": "link"},
        data={"password": "a long new passphrase", "password_again": "a long new passphrase"},
        everybody=302, out=302,
    ),
    page("accounts:sign-in-link", {"token": "=spent"}, everybody=404, out=404),
    page("accounts:tokens", everybody=200),
    post("accounts:tokens", data={"name": "new", "scope": "read", "days": "30"}, everybody=200),
    post("accounts:token-revoke", {"token_id": "token.pk"}, everybody=404, owner=302),
    post("accounts:theme", data={"theme": "dark"}, everybody=302),
]  # fmt: skip

_PEOPLE = [
    page("accounts:people", everybody=200),
    page("accounts:user-new", **administrators(200)),
    post("accounts:user-new", data={"username": "newbie"}, **administrators(200)),
    page("accounts:user", ANA, **accounts_seen(200)),
    post("accounts:user", ANA, data={"display_name": "Ana"}, **accounts_managed(302)),
    post("accounts:user-disable", ANA, **accounts_managed(302)),
    post("accounts:user-enable", {"username": "=dora"}, **accounts_managed(302)),
    post("accounts:user-link", ANA, **accounts_managed(200)),
    post("accounts:user-reset-second-factor", ANA, **accounts_managed(302)),
    page("accounts:team-new", **administrators(200)),
    post("accounts:team-new", data={"name": "New", "slug": "new"}, **administrators(302)),
    page("accounts:team", SHOP, **team_sees(200)),
    post("accounts:team", SHOP, data={"username": "sven", "role": "member"}, **team_managed(302)),
    post("accounts:team-rename", SHOP, data={"name": "Shop 2"}, **team_managed(302)),
    post("accounts:team-delete", SHOP, data={"typed": "shop"}, **administrators(302)),
    post("accounts:team-member-remove", BEN, **team_managed(302)),
]

_ALLAUTH = [
    page("account_login", everybody=302, out=200),
    post("account_login", data={"login": "nobody", "password": "wrong"}, everybody=302, out=200),
    page("account_logout", everybody=200, out=302),
    post("account_logout", everybody=302, out=302),
    page("account_signup", everybody=302, out=200),
    post("account_signup", data={"username": "me"}, everybody=302, out=200),
    page("account_inactive", everybody=200, out=200),
    page("account_reauthenticate", everybody=200),
    post("account_reauthenticate", data={"password": "correct horse battery"}, everybody=302),
    page("account_change_password", everybody=200),
    post("account_change_password", data={"oldpassword": "wrong"}, everybody=200),
    # Whoever has a password changes it instead.
    page("account_set_password", everybody=302),
    post("account_set_password", everybody=302),
    page("mfa_index", everybody=200),
    page("mfa_authenticate", everybody=302, out=302),
    post("mfa_authenticate", everybody=302, out=302),
    page("mfa_reauthenticate", everybody=302),
    post("mfa_reauthenticate", everybody=302),
    # These ask for the password once more first, or have nothing to show.
    page("mfa_activate_totp", everybody=302),
    post("mfa_activate_totp", everybody=302),
    page("mfa_deactivate_totp", everybody=404),
    post("mfa_deactivate_totp", everybody=404),
    page("mfa_view_recovery_codes", everybody=404),
    page("mfa_generate_recovery_codes", everybody=302),
    post("mfa_generate_recovery_codes", everybody=302),
    page("mfa_download_recovery_codes", everybody=404),
]

_API_PEOPLE = [
    api("GET", "me", everybody=200),
    api("PATCH", "me", data={"theme": "dark"}, everybody=200),
    api("GET", "user-list", **overseers(200)),
    api("POST", "user-list", data={"username": "newbie"}, **administrators(201)),
    api("GET", "user", ANA, **accounts_seen(200)),
    api("PATCH", "user", ANA, data={"display_name": "Ana"}, **accounts_managed(200)),
    api("POST", "user-enable", ANA, **accounts_managed(200)),
    api("POST", "user-disable", ANA, **accounts_managed(200)),
    api("POST", "user-link", ANA, **accounts_managed(201)),
    api("POST", "user-reset-second-factor", ANA, **accounts_managed(204)),
    api("GET", "token-list", everybody=200),
    api("POST", "token-list", data={"name": "new"}, everybody=201),
    api("DELETE", "token", {"token_id": "token.pk"}, everybody=404, owner=204),
    api("GET", "team-list", everybody=200),
    api("POST", "team-list", data={"name": "New", "slug": "new"}, **administrators(201)),
    api("GET", "team", SHOP, **team_sees(200)),
    api("PATCH", "team", SHOP, data={"name": "Shop 2"}, **team_managed(200)),
    api("DELETE", "team", SHOP, **team_sees(403) | {"administrator": 204}),
    api("PUT", "member", BEN, data={"role": "lead"}, **team_managed(200)),
    api("DELETE", "member", BEN, **team_managed(204)),
]

_API = [
    api("GET", "audit-list", everybody=200),
    api("GET", "audit-chain", **overseers(200)),
    api("GET", "audit-event", {"sequence": "event.sequence"}, **team_sees(200) | {"teammate": 404}),
    api("GET", "workspace-list", everybody=200),
    api("POST", "workspace-list", data={"name": "fresh"}, everybody=202),
    api("GET", "workspace", WORKSPACE, **team_sees(200)),
    api("DELETE", "workspace", WORKSPACE, **owner_only(202) | {"administrator": 202}),
    api("GET", "session-list", everybody=200),
    api("POST", "session-list", data={"workspace": "ana.web"}, **owner_only(202)),
    api("GET", "session", SESSION, **team_sees(200)),
    api("POST", "session-act", _act("stop"), **operators(202)),
    api("POST", "session-act", _act("end"), **operators(202)),
    api("POST", "session-act", _act("kill"), **operators(202)),
    api("POST", "session-act", _act("start-again"), **owner_only(409)),
    api("GET", "operation-list", everybody=200),
    api("GET", "operation", OPERATION, **team_sees(200)),
    api("POST", "operation-cancel", OPERATION, **team_sees(403) | {"owner": 200, "administrator": 200}),
    api("GET", "health", **overseers(200)),
    api("GET", "schema", everybody=200),
    page("api:docs", everybody=200),
]

_PUBLIC = [
    page("healthz", everybody=200, out=200),
    page("readyz", everybody=200, out=200),
]

ROWS: list[Row] = [
    *_SESSIONS, *_OPERATIONS, *_AUDIT, *_ACCOUNT, *_PEOPLE, *_ALLAUTH, *_API_PEOPLE, *_API, *_PUBLIC,
]  # fmt: skip

#: Accepted, or the close code; a refused Origin is refused before anybody is looked at.
ACCEPTED = "accepted"


@dataclass(frozen=True, slots=True)
class SocketRow:
    """``route`` as in coi_web/routing.py; ``path`` may hold ``{session}``."""

    route: str
    path: str
    expect: dict[str, int | str]


def socket(route: str, path: str, **statuses: int | str) -> SocketRow:
    return SocketRow(route, path, _people(**statuses))


SOCKETS: list[SocketRow] = [
    socket("ws/live/", "/ws/live/", everybody=ACCEPTED, out=4401),
    socket(
        "ws/sessions/<str:key>/terminal/", "/ws/sessions/{session}/terminal/",
        **team_sees(4403) | {"owner": ACCEPTED, "other": 4404, "stranger": 4404}, out=4401,
    ),
    socket("", "/ws/nothing/here/", everybody=1000, out=1000),
]  # fmt: skip
