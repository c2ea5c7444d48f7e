"""The people that every permission is tried with."""

from __future__ import annotations

from dataclasses import dataclass, fields

from coi_web.accounts.models import Membership, Team, User
from coi_web.audit.actors import Actor

PASSWORD = "correct horse battery"

#: A name that finds missing escaping, see also SQL and shell.
NASTY_NAME = "o'Brien <b>&\"{{x}}"


@dataclass(frozen=True, slots=True)
class Cast:
    """``owner``, ``teammate`` and ``lead`` share the team ``shop``; ``other`` is in another team."""

    owner: User
    teammate: User
    lead: User
    auditor: User
    administrator: User
    other: User
    stranger: User
    disabled: User
    team: Team
    other_team: Team

    def people(self) -> dict[str, User]:
        return {
            field.name: value
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), User)
        }

    def actor(self, name: str) -> Actor:
        return Actor.of(self.people()[name], request_id="test-request")


def make_cast() -> Cast:
    def person(name: str, **more: object) -> User:
        return User.objects.create_user(name, PASSWORD, display_name=f"{name} {NASTY_NAME}", **more)

    team = Team.objects.create(slug="shop", name=f"Shop {NASTY_NAME}")
    other_team = Team.objects.create(slug="bank", name="Bank")
    cast = Cast(
        owner=person("ana", email="ana@example.org"),
        teammate=person("ben"),
        lead=person("lea"),
        auditor=person("otto", is_auditor=True),
        administrator=person("ada", is_superuser=True),
        other=person("olga"),
        stranger=person("sven"),
        disabled=person("dora", is_active=False),
        team=team,
        other_team=other_team,
    )
    for user, role in (
        (cast.owner, "member"),
        (cast.teammate, "member"),
        (cast.lead, "lead"),
        (cast.disabled, "member"),
    ):
        Membership.objects.create(team=team, user=user, role=role)
    Membership.objects.create(team=other_team, user=cast.other, role="lead")
    return cast
