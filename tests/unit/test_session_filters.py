"""The filter of the sessions list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coi_web.accounts.models import User
from sessions.filters import KEYS, PRESETS, parse
from sessions.models import Session
from sessions.services.lifecycle import kill_session, stop_session
from tests.support.cast import Cast
from tests.support.sessions import ready_workspace, run_queued, running_session

ANA = User(username="ana")


@given(st.text(max_size=300))
def test_any_text_is_a_filter(text: str) -> None:
    parse(text, ANA)


@given(st.sampled_from(KEYS), st.text(min_size=1, max_size=30).filter(str.split))
def test_any_value_of_a_known_key_is_a_filter(key: str, value: str) -> None:
    parse(f"{key}:{value}", ANA)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("colour:red", "colour:"),
        ("state:blue", "blue"),
        ("mode:both", "ephemeral"),
        ("is:odd", "live, over, any"),
    ],
)
def test_what_is_not_understood_is_said_and_left_out(text: str, part: str) -> None:
    (problem,) = parse(text, ANA).problems
    assert part in problem
    assert parse(text, ANA).condition == parse("", ANA).condition


def test_presets_are_understood() -> None:
    assert [parse(query, ANA).problems for query, _ in PRESETS] == [()] * len(PRESETS)


def test_what_is_found(cast: Cast, fake_incus: object) -> None:
    owner, teammate = cast.actor("owner"), cast.actor("teammate")
    running = running_session(owner, ready_workspace(owner, "shop", team=cast.team), mode="persistent")
    stopped = running_session(owner, ready_workspace(owner, "api"))
    stop_session(actor=owner, session=stopped)
    over = running_session(owner, ready_workspace(owner, "old"))
    kill_session(actor=owner, session=over)
    theirs = running_session(teammate, ready_workspace(teammate, "bills", team=cast.team))
    run_queued()

    def found(text: str) -> set[str]:
        names = Session.objects.filter(parse(text, cast.owner).condition).values_list("name", flat=True)
        return set(names)

    assert found("") == {running.name, stopped.name, theirs.name}
    assert found("owner:me") == {running.name, stopped.name}
    assert found("owner:ben") == {theirs.name}
    assert found("state:stopped") == {stopped.name}
    assert found("mode:persistent owner:me") == {running.name}
    assert found("team:shop") == {running.name, theirs.name}
    assert found("is:over") == found("state:ended") == {over.name}
    assert found("is:any") == {running.name, stopped.name, over.name, theirs.name}
    assert found("bills") == found("workspace:bil") == {theirs.name}
    assert found(running.name) == {running.name}
    assert found("nothing-like-it") == set()
