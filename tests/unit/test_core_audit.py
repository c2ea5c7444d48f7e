"""The audit log: what is written, that nothing can be changed, and that a change is noticed."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from coi_web.audit.actions import known_actions, register_action, sentence
from coi_web.audit.actors import SYSTEM, Actor
from coi_web.audit.chain import chain_status
from coi_web.audit.guards import install_guards, remove_guards
from coi_web.audit.models import AuditEvent, AuditHead
from coi_web.audit.services import GENESIS, Target, chain_hash, record, refusals_recorded, verify_chain
from coi_web.errors import DiskFull, NotFound
from tests.support.cast import NASTY_NAME, Cast

THEME = "account.theme-changed"


@pytest.fixture
def ten(db: None) -> list[AuditEvent]:
    return [record(THEME, actor=SYSTEM, data={"number": number}) for number in range(10)]


class TestRecord:
    def test_a_row_holds_names_as_text(self, cast: Cast) -> None:
        actor = Actor.of(cast.owner, ip="10.0.0.9", user_agent="x" * 500, request_id="r1")
        event = record(
            "team.change", actor=actor, target=Target("team", "7", NASTY_NAME), team=cast.team, data={"é": 1}
        )
        event.refresh_from_db()
        assert (event.actor_kind, event.actor_id, event.actor_name) == ("user", cast.owner.pk, "ana")
        assert (event.target_kind, event.target_id, event.target_name) == ("team", "7", NASTY_NAME)
        assert (event.team_name, event.ip, len(event.user_agent), event.data) == (
            cast.team.name,
            "10.0.0.9",
            200,
            {"é": 1},
        )
        assert chain_hash(event) == event.hash, "what the database gives back hashes to the same"

    def test_an_unknown_action_is_a_programming_error(self, db: None) -> None:
        with pytest.raises(ValueError, match="unknown audit action"):
            record("no.such", actor=SYSTEM)
        with pytest.raises(ValueError, match="twice"):
            register_action(THEME, "did something else")
        assert not AuditEvent.objects.exists()

    def test_a_name_that_no_database_takes_is_recorded_nonetheless(self, db: None) -> None:
        event = record(
            "user.create", actor=SYSTEM, target=Target("user", "", "a\x00b\ud83d"), outcome="refused"
        )
        event.refresh_from_db()
        assert event.target_name == "a\ufffdb?"
        assert verify_chain().is_whole

    def test_it_goes_with_the_transaction(self, db: None) -> None:
        with pytest.raises(RuntimeError), transaction.atomic():
            record(THEME, actor=SYSTEM)
            raise RuntimeError
        assert not AuditEvent.objects.exists()
        record(THEME, actor=SYSTEM)
        assert verify_chain().is_whole

    def test_refusals_and_failures_stay_when_the_change_is_undone(self, db: None) -> None:
        for error in (NotFound("Not here."), DiskFull("Full.")):
            with pytest.raises(type(error)), refusals_recorded(THEME, actor=SYSTEM), transaction.atomic():
                raise error
        outcomes = AuditEvent.objects.order_by("sequence").values_list("outcome", "data")
        assert list(outcomes) == [("refused", {"code": "not-found"}), ("failed", {"code": "disk-full"})]

    def test_every_registered_phrase_makes_a_sentence(self) -> None:
        for action in known_actions():
            text = sentence(action.code, actor="Ana", target="it", outcome="ok")
            assert text.startswith("Ana ")
            assert "{" not in text
        assert sentence("gone.action", actor="Ana", target="it", outcome="ok") == "Ana gone.action it"


class TestGuards:
    def test_the_database_refuses_changes(self, ten: list[AuditEvent]) -> None:
        for change in (
            lambda: AuditEvent.objects.filter(sequence=3).update(actor_name="x"),
            lambda: AuditEvent.objects.filter(sequence=3).delete(),
            lambda: ten[0].save(),
            lambda: ten[0].delete(),
        ):
            with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
                change()
        assert AuditEvent.objects.count() == 10
        assert verify_chain().is_whole

    def test_installing_is_safe_to_repeat(self, ten: list[AuditEvent]) -> None:
        install_guards(connection)
        install_guards(connection)
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            AuditEvent.objects.all().delete()


class TestChain:
    @pytest.fixture(autouse=True)
    def _open(self, ten: list[AuditEvent]) -> None:
        """As somebody with the database's password could: the triggers are taken away first."""
        remove_guards(connection)

    def test_whole(self) -> None:
        verdict = verify_chain()
        assert (verdict.is_whole, verdict.checked, verdict.through) == (True, 10, 10)
        assert AuditEvent.objects.get(sequence=1).previous_hash == GENESIS

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("actor_name", "somebody"), ("actor_id", 5), ("action", "user.create"), ("outcome", "refused"),
            ("target_name", "x"), ("team_id", 9), ("ip", "1.2.3.4"), ("data", {"number": 99}), ("request_id", "x"),
            ("user_agent", "x"),
        ],
    )  # fmt: skip
    def test_a_changed_row(self, field: str, value: object) -> None:
        AuditEvent.objects.filter(sequence=4).update(**{field: value})
        verdict = verify_chain()
        assert (verdict.broken_at, verdict.reason, verdict.checked) == (4, "the row was changed", 3)

    def test_a_changed_time(self) -> None:
        event = AuditEvent.objects.get(sequence=4)
        AuditEvent.objects.filter(sequence=4).update(at=event.at + timedelta(microseconds=1))
        assert verify_chain().broken_at == 4

    def test_a_row_that_was_hashed_anew_without_the_key(self, settings: object) -> None:
        event = AuditEvent.objects.get(sequence=4)
        event.actor_name = "somebody"
        settings.COI_AUDIT_KEY = "guessed" * 5  # type: ignore[attr-defined]
        forged = chain_hash(event)
        settings.COI_AUDIT_KEY = "for-tests-only-audit"  # type: ignore[attr-defined]
        AuditEvent.objects.filter(sequence=4).update(actor_name="somebody", hash=forged)
        assert verify_chain().broken_at == 4

    def test_a_row_hashed_anew_with_the_key_breaks_at_the_next(self) -> None:
        event = AuditEvent.objects.get(sequence=4)
        event.actor_name = "somebody"
        AuditEvent.objects.filter(sequence=4).update(actor_name="somebody", hash=chain_hash(event))
        verdict = verify_chain()
        assert (verdict.broken_at, verdict.reason) == (5, "the row does not follow from the one before")

    def test_a_missing_row(self) -> None:
        AuditEvent.objects.filter(sequence=4).delete()
        verdict = verify_chain()
        assert (verdict.broken_at, verdict.reason) == (4, "a row is missing")

    def test_a_cut_tail(self) -> None:
        AuditEvent.objects.filter(sequence__gte=8).delete()
        verdict = verify_chain()
        assert (verdict.broken_at, verdict.reason) == (8, "the newest rows are missing")

    def test_everything_gone(self) -> None:
        AuditEvent.objects.all().delete()
        assert verify_chain().broken_at == 1

    def test_a_replaced_newest_row(self) -> None:
        event = AuditEvent.objects.get(sequence=10)
        event.actor_name = "somebody"
        AuditEvent.objects.filter(sequence=10).update(actor_name="somebody", hash=chain_hash(event))
        assert verify_chain().broken_at == 10

    def test_rows_that_come_in_during_the_walk_are_no_break(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = chain_hash
        added: list[AuditEvent] = []

        def slow(event: AuditEvent) -> str:
            if not added and event.pk is not None:
                monkeypatch.setattr("coi_web.audit.services.chain_hash", real)
                added.append(record(THEME, actor=SYSTEM))
            return real(event)

        monkeypatch.setattr("coi_web.audit.services.chain_hash", slow)
        assert verify_chain().is_whole
        assert added

    def test_the_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("audit", "verify")
        assert capsys.readouterr().out == "whole: 10 events\n"
        AuditEvent.objects.filter(sequence=4).update(ip="x")
        with pytest.raises(CommandError, match="broken at event 4: the row was changed"):
            call_command("audit", "verify")


class TestStatus:
    """The badge checks a piece at each look."""

    @pytest.fixture(autouse=True)
    def _pieces(self, ten: list[AuditEvent], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("coi_web.audit.chain.ROWS_AT_ONCE", 4)
        remove_guards(connection)

    def test_piece_by_piece(self) -> None:
        seen = [chain_status() for _ in range(4)]
        assert [(one.status, one.checked_through) for one in seen] == [
            ("checking", 4), ("checking", 8), ("whole", 10), ("whole", 10),
        ]  # fmt: skip
        record(THEME, actor=SYSTEM)
        assert chain_status().checked_through == 11

    def test_a_break_stays_one(self) -> None:
        AuditEvent.objects.filter(sequence=6).update(ip="x")
        assert chain_status().status == "checking"
        broken = chain_status()
        assert (broken.status, broken.broken_at, broken.checked_through) == ("broken", 6, 5)
        assert [chain_status().status for _ in range(2)] == ["checking", "broken"]

    def test_a_cut_tail_behind_what_was_checked(self) -> None:
        for _ in range(3):
            chain_status()
        AuditEvent.objects.filter(sequence__gt=8).delete()
        AuditHead.objects.update(sequence=8, hash=AuditEvent.objects.get(sequence=8).hash)
        assert chain_status().status == "broken"

    def test_it_begins_anew_after_an_hour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for _ in range(3):
            chain_status()
        AuditEvent.objects.filter(sequence=2).update(ip="x")
        assert chain_status().status == "whole", "what was checked is not checked again at once"
        begun, through, hash_ = cache.get("coi-audit-chain")
        cache.set("coi-audit-chain", (begun - 3601, through, hash_))
        assert chain_status().broken_at == 2

    def test_an_empty_log(self) -> None:
        AuditEvent.objects.all().delete()
        AuditHead.objects.all().delete()
        assert chain_status().status == "whole"


@pytest.mark.django_db(transaction=True)
def test_writers_in_parallel_keep_one_chain() -> None:
    """Real threads and commits: no sequence twice, none left out."""
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def write() -> None:
        try:
            start.wait(timeout=10)
            for _ in range(10):
                record(THEME, actor=SYSTEM)
        except BaseException as error:  # shown by the test's own thread
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not errors
    verdict = verify_chain()
    assert (verdict.is_whole, verdict.checked) == (True, 40)
