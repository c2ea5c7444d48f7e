"""Services of people, links and tokens: rules that no page can get around, exact under simultaneous calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from coi_web.accounts import services, team_services
from coi_web.accounts.access import events_for, get_team_for, get_token_for, get_user_for, require_user
from coi_web.accounts.models import ApiToken, Membership, SignInLink, Team, User
from coi_web.accounts.tokens import TOKEN_PREFIX, digest, new_secret
from coi_web.audit.actors import SYSTEM, Actor
from coi_web.audit.models import AuditEvent
from coi_web.errors import CoiError, Conflict, Forbidden, InvalidInput, NotFound, QuotaExceeded, SignedOut
from coi_web.logs import hide_secrets
from tests.support.cast import Cast


def _refused() -> list[tuple[str, str]]:
    """Actions and codes of what was refused, oldest first."""
    rows = AuditEvent.objects.filter(outcome="refused").order_by("sequence")
    return [(event.action, event.data["code"]) for event in rows]


class TestAccess:
    def test_who_is_nobody(self, cast: Cast) -> None:
        for actor in (Actor.of(None), SYSTEM, cast.actor("disabled")):
            with pytest.raises(SignedOut):
                require_user(actor)
            with pytest.raises(SignedOut):
                events_for(actor)

    @pytest.mark.parametrize("who", ["other", "stranger"])
    def test_not_yours_and_not_there_are_the_same(self, who: str, cast: Cast) -> None:
        actor = cast.actor(who)
        texts = set()
        for slug in ("shop", "no-such-team"):
            with pytest.raises(NotFound) as refused:
                get_team_for(actor, slug, to="manage")
            texts.add((refused.value.message, refused.value.code))
        assert len(texts) == 1
        texts = set()
        for username in ("ana", "nobody"):
            with pytest.raises(NotFound) as refused:
                get_user_for(actor, username, to="view")
            texts.add((refused.value.message, refused.value.code))
        assert len(texts) == 1

    def test_tokens_are_their_persons_only(self, cast: Cast) -> None:
        token, _ = services.create_token(actor=cast.actor("owner"), name="t", scope="read", days=1)
        assert get_token_for(cast.actor("owner"), token.pk) == token
        for who in ("administrator", "lead", "stranger"):
            with pytest.raises(NotFound):
                get_token_for(cast.actor(who), token.pk)


class TestUsers:
    @pytest.mark.parametrize("who", ["owner", "lead", "auditor"])
    def test_only_administrators_change_accounts(self, who: str, cast: Cast) -> None:
        """Also where a view forgot to ask, and the refusal is recorded."""
        actor = cast.actor(who)
        attempts: list[Callable[[], object]] = [
            lambda: services.create_user(actor=actor, username="newbie"),
            lambda: services.change_user(
                actor=actor,
                user=cast.owner,
                email="",
                display_name="",
                is_administrator=True,
                is_auditor=False,
            ),
            lambda: services.set_user_enabled(actor=actor, user=cast.owner, enabled=False),
            lambda: services.create_sign_in_link(actor=actor, user=cast.administrator),
            lambda: services.reset_second_factor(actor=actor, user=cast.administrator),
            lambda: team_services.create_team(actor=actor, slug="new", name="New"),
            lambda: team_services.delete_team(actor=actor, team=cast.team),
        ]
        for attempt in attempts:
            with pytest.raises(Forbidden):
                attempt()
        assert [action for action, _ in _refused()] == [
            "user.create", "user.change", "user.disable", "user.link", "user.second-factor-reset",
            "team.create", "team.delete",
        ]  # fmt: skip
        assert {code for _, code in _refused()} == {"forbidden"}
        assert not SignInLink.objects.exists()
        cast.owner.refresh_from_db()
        assert (cast.owner.is_superuser, cast.owner.is_active) == (False, True)

    @pytest.mark.parametrize("username", ["", "A", "1a", "-a", "a.b", "a b", "é", "x" * 33, "a\n", "a\x00"])
    def test_bad_names(self, username: str, cast: Cast) -> None:
        with pytest.raises(InvalidInput) as refused:
            services.create_user(actor=cast.actor("administrator"), username=username)
        assert refused.value.data == {"field": "username"}

    def test_mail_is_one_persons_whatever_its_case(self, cast: Cast) -> None:
        admin = cast.actor("administrator")
        with pytest.raises(Conflict):
            services.create_user(actor=admin, username="n", email="ANA@example.org")
        for name in ("n1", "n2"):
            services.create_user(actor=admin, username=name)
        with pytest.raises(Conflict):
            services.change_user(
                actor=admin, user=User.objects.get(username="n1"), email="ana@EXAMPLE.org", display_name="",
                is_administrator=False, is_auditor=False,
            )  # fmt: skip

    def test_disabling_twice_is_recorded_once(self, cast: Cast) -> None:
        for enabled in (False, False, True, True):
            services.set_user_enabled(actor=cast.actor("administrator"), user=cast.owner, enabled=enabled)
        actions = AuditEvent.objects.order_by("sequence").values_list("action", flat=True)
        assert list(actions) == ["user.disable", "user.enable"]

    def test_the_last_administrator(self, cast: Cast) -> None:
        admin = cast.actor("administrator")
        for attempt in (
            lambda: services.set_user_enabled(actor=admin, user=cast.administrator, enabled=False),
            lambda: services.change_user(
                actor=admin, user=cast.administrator, email="", display_name="", is_administrator=False,
                is_auditor=False,
            ),
        ):  # fmt: skip
            with pytest.raises(Conflict) as refused:
                attempt()
            assert refused.value.code == "last-administrator"
            cast.administrator.refresh_from_db()
            assert cast.administrator.is_superuser
            assert cast.administrator.is_active
        services.create_user(actor=admin, username="second", is_administrator=True)
        services.set_user_enabled(actor=admin, user=cast.administrator, enabled=False)
        assert not cast.administrator.is_active


class TestTeams:
    def test_leads_manage_their_own_team_only(self, cast: Cast) -> None:
        lead = cast.actor("lead")
        team_services.set_member(actor=lead, team=cast.team, username="sven", role="member")
        with pytest.raises(NotFound):
            team_services.set_member(actor=lead, team=cast.other_team, username="sven", role="member")
        for who in ("owner", "auditor"):
            with pytest.raises(Forbidden):
                team_services.set_member(actor=cast.actor(who), team=cast.team, username="olga", role="lead")
            with pytest.raises(Forbidden):
                team_services.remove_member(actor=cast.actor(who), team=cast.team, username="lea")

    def test_deleting_keeps_people_and_says_who_was_in_it(self, cast: Cast) -> None:
        team_services.delete_team(actor=cast.actor("administrator"), team=cast.team)
        assert not Team.objects.filter(slug="shop").exists()
        assert User.objects.filter(username__in=["ana", "ben", "lea"]).count() == 3
        event = AuditEvent.objects.get(action="team.delete")
        assert (event.data["members"], event.team_name) == (["ana", "ben", "dora", "lea"], cast.team.name)

    @pytest.mark.parametrize("slug", ["", "A", "1a", "a_b", "x" * 49, "a b", "<b>"])
    def test_bad_slugs(self, slug: str, cast: Cast) -> None:
        with pytest.raises(InvalidInput) as refused:
            team_services.create_team(actor=cast.actor("administrator"), slug=slug, name="x")
        assert refused.value.data == {"field": "slug"}

    def test_renaming_to_nothing(self, cast: Cast) -> None:
        for name in ("", "  ", "x" * 101):
            with pytest.raises(InvalidInput):
                team_services.rename_team(actor=cast.actor("lead"), team=cast.team, name=name)
            cast.team.refresh_from_db()
        assert cast.team.name.startswith("Shop")

    def test_the_same_role_again_changes_nothing(self, cast: Cast) -> None:
        for _ in range(2):
            team_services.set_member(actor=cast.actor("lead"), team=cast.team, username="ben", role="lead")
        assert AuditEvent.objects.filter(action="team.member-change").count() == 1
        for _ in range(2):
            team_services.remove_member(actor=cast.actor("lead"), team=cast.team, username="ben")
        assert AuditEvent.objects.filter(action="team.member-remove").count() == 1
        assert not Membership.objects.filter(user=cast.teammate).exists()


class TestTokens:
    def test_only_the_digest_is_stored(self, cast: Cast) -> None:
        token, text = services.create_token(actor=cast.actor("owner"), name=" ci ", scope="read", days=366)
        assert text.startswith(TOKEN_PREFIX)
        assert (token.digest, token.name, token.prefix) == (digest(text), "ci", text[:10])
        assert text not in str(AuditEvent.objects.get(action="token.create").data)

    @pytest.mark.parametrize(
        ("name", "scope", "days", "field"),
        [("", "read", 1, "name"), ("x" * 65, "read", 1, "name"), ("t", "root", 1, "scope"), ("t", "read", 0, "days"),
         ("t", "read", 367, "days")],
    )  # fmt: skip
    def test_bad_input(self, cast: Cast, name: str, scope: str, days: int, field: str) -> None:
        with pytest.raises(InvalidInput) as refused:
            services.create_token(actor=cast.actor("owner"), name=name, scope=scope, days=days)
        assert refused.value.data == {"field": field}

    def test_revoked_and_ended_ones_make_room(self, cast: Cast) -> None:
        actor = cast.actor("owner")
        made = [services.create_token(actor=actor, name="t", scope="read", days=1)[0] for _ in range(20)]
        with pytest.raises(QuotaExceeded) as refused:
            services.create_token(actor=actor, name="t", scope="read", days=1)
        assert refused.value.data == {"limit": 20, "use": 20}
        services.revoke_token(actor=actor, token=made[0])
        services.revoke_token(actor=actor, token=made[0])
        services.create_token(actor=actor, name="t", scope="read", days=1)
        ApiToken.objects.filter(pk=made[1].pk).update(expires_at=timezone.now() - timedelta(days=1))
        services.create_token(actor=actor, name="t", scope="read", days=1)
        assert AuditEvent.objects.filter(action="token.revoke").count() == 1


def _together(*calls: Callable[[], object]) -> list[object]:
    """Results or errors of calls that begin at the same moment, each in its own thread and connection."""
    start = threading.Barrier(len(calls))
    results: list[object] = []

    def run(call: Callable[[], object]) -> None:
        start.wait(timeout=10)
        try:
            results.append(call())
        except CoiError as error:
            results.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(results) == len(calls), "a call crashed"
    return results


@pytest.mark.django_db(transaction=True)
class TestSimultaneous:
    def test_one_link_signs_in_once(self, cast: Cast) -> None:
        token = services.create_sign_in_link(actor=SYSTEM, user=cast.owner)
        results = _together(*[lambda: services.use_sign_in_link(actor=SYSTEM, token=token)] * 4)
        assert sum(isinstance(one, User) for one in results) == 1
        assert all(isinstance(one, User | NotFound) for one in results)

    def test_the_cap_of_tokens_is_exact(self, cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(services, "MOST_TOKENS_PER_USER", 2)
        actor = cast.actor("owner")
        results = _together(*[lambda: services.create_token(actor=actor, name="t", scope="read", days=1)] * 5)
        assert sum(isinstance(one, QuotaExceeded) for one in results) == 3
        assert ApiToken.objects.count() == 2

    def test_two_administrators_cannot_disable_each_other(self, cast: Cast) -> None:
        second = User.objects.create_user("second", is_superuser=True)
        first = cast.administrator
        results = _together(
            lambda: services.set_user_enabled(actor=Actor.of(first), user=second, enabled=False),
            lambda: services.set_user_enabled(actor=Actor.of(second), user=first, enabled=False),
        )
        assert User.objects.filter(is_superuser=True, is_active=True).count() == 1
        assert sum(isinstance(one, Conflict) for one in results) == 1

    def test_one_account_per_name(self, cast: Cast) -> None:
        admin = cast.actor("administrator")
        results = _together(*[lambda: services.create_user(actor=admin, username="newbie")] * 3)
        assert sum(isinstance(one, User) for one in results) == 1
        assert sum(isinstance(one, Conflict) for one in results) == 2


class TestFirstLink:
    def _link(self, capsys: pytest.CaptureFixture[str], **options: Any) -> str:
        call_command("first_admin_link", base_url="http://127.0.0.1:8470/", **options)
        return capsys.readouterr().out.strip()

    def test_until_an_administrator_has_a_password(
        self, db: None, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = self._link(capsys)
        assert first.startswith("http://127.0.0.1:8470/sign-in/")
        again = self._link(capsys)
        assert again != first, "a new link each time; the earlier one has ended"
        assert User.objects.get().username == "admin"
        services.use_sign_in_link(actor=SYSTEM, token=again.split("/")[-2], password="a long passphrase")
        assert self._link(capsys) == ""
        assert "/sign-in/" in self._link(capsys, user="admin")


def test_secrets_stay_out_of_logs() -> None:
    token = new_secret()
    event = {
        "event": f"Forbidden (CSRF token missing.): /sign-in/{token}/",
        "path": f"/sign-in/{token}/?x=1",
        "password": "x",
        "api_token": "coi_x",
        "number": 5,
    }
    hidden = hide_secrets(None, "info", dict(event))
    assert token not in str(hidden)
    assert (hidden["password"], hidden["api_token"], hidden["number"]) == ("[hidden]", "[hidden]", 5)
    assert hidden["path"] == "/sign-in/[hidden]/?x=1"
