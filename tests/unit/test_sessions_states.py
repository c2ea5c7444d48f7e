"""The word for every combination, and what may be done in it."""

from __future__ import annotations

from itertools import product

import pytest

from coi_web.incus.types import InstanceStatus
from sessions.states import (
    LEAVES_NOTHING,
    LIVE,
    OVER,
    Action,
    EndReason,
    Mode,
    Observed,
    State,
    allowed_actions,
    word,
)

#: Written down apart from the code: state, then what an owner may do in ephemeral and persistent mode.
TABLE = """
queued    kill                   kill
starting  kill                   kill
running   stop,end,kill,attach   stop,end,kill,attach
frozen    stop,end,kill          stop,end,kill
stopping  kill                   kill
stopped   start-again,end,kill   start-again,kill
ended     -                      -
failed    kill                   kill
lost      -                      -
"""


def _table() -> dict[tuple[str, str], set[str]]:
    rows = [line.split() for line in TABLE.split("\n") if line]
    return {
        (row[0], mode): set(cell.split(",")) - {"-"}
        for row in rows
        for mode, cell in zip(("ephemeral", "persistent"), row[1:], strict=True)
    }


@pytest.mark.parametrize(("state", "mode", "action"), list(product(State, Mode, Action)))
def test_every_state_with_every_action(state: State, mode: Mode, action: Action) -> None:
    assert (action in allowed_actions(state, mode)) == (action in _table()[state, mode])


@pytest.mark.parametrize(("state", "mode"), list(product(State, Mode)))
def test_nothing_can_be_done_to_what_is_over(state: State, mode: Mode) -> None:
    assert allowed_actions(state, mode, is_live=False) == frozenset()


COMBINATIONS = list(
    product(Observed, ("", "start", "start-again", "stop", "end", "kill"), (False, True), ("", *EndReason))
)


@pytest.mark.parametrize(("observed", "doing", "begun", "end"), COMBINATIONS)
def test_the_word_shows_the_end_first_then_what_is_done_then_what_was_seen(
    observed: Observed, doing: str, begun: bool, end: str
) -> None:
    shown = word(observed=observed, doing=doing, doing_begun=begun, end_reason=end)
    if end:
        expected = {"lost": "lost", "start-failed": "failed", "name-taken": "failed"}.get(end, "ended")
    elif doing in ("start", "start-again"):
        expected = "starting" if begun else "queued"
    elif doing:
        expected = "stopping"
    else:
        expected = {"absent": "lost", "error": "failed", "unknown": "failed"}.get(observed, observed.value)
    assert shown == expected


def test_the_words_cover_what_incus_can_say() -> None:
    assert {status.value for status in InstanceStatus} | {"absent"} == {seen.value for seen in Observed}
    assert set(State) == LIVE | OVER
    assert set(EndReason) - LEAVES_NOTHING == {EndReason.LOST, EndReason.NAME_TAKEN}
