"""The arithmetic of the output window."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sessions.terminals.flow import BURST_BYTES, TYPING_S, AckBeyondSent, Pace, Typists, Window


def test_it_closes_at_the_high_mark_and_opens_at_the_low_one() -> None:
    window = Window(high=100, low=40)
    window.on_sent(99)
    assert window.room == 1
    window.on_sent(1)
    assert window.room == 0

    assert window.on_ack(59)
    assert window.room == 0, "41 are on their way, one above the low mark"
    assert window.on_ack(60)
    assert window.room == 60


def test_an_ack_above_what_was_sent_is_refused_and_changes_nothing() -> None:
    window = Window(high=100, low=40)
    window.on_sent(10)
    with pytest.raises(AckBeyondSent):
        window.on_ack(11)
    assert window.acked == 0
    assert window.on_ack(10)


def test_old_acks_are_old_news() -> None:
    window = Window(high=100, low=40)
    window.on_sent(50)
    assert window.on_ack(30)
    assert not window.on_ack(30)
    assert not window.on_ack(10)
    assert window.acked == 30


@pytest.mark.parametrize(("high", "low"), [(10, 10), (10, 11), (0, 0), (10, -1)])
def test_marks_that_cannot_work_are_refused(high: int, low: int) -> None:
    with pytest.raises(ValueError, match="low mark"):
        Window(high=high, low=low)


@given(st.lists(st.integers(1, 64), min_size=1), st.integers(1, 50))
def test_a_browser_that_acknowledges_often_enough_never_stops_for_good(pieces: list[int], every: int) -> None:
    """Sends everything through a browser that acknowledges after each ``every`` bytes."""
    window = Window(high=100, low=50)
    acked = 0
    for piece in pieces:
        left = piece
        while left:
            size = min(left, window.room)
            assert size > 0, "locked although the browser acknowledged as agreed"
            window.on_sent(size)
            left -= size
            if window.sent - acked >= every:
                acked = window.sent
                window.on_ack(acked)
    assert window.sent == sum(pieces)


class WindowMachine(RuleBasedStateMachine):
    """Any order of sends within the room and of acks, honest or not."""

    def __init__(self) -> None:
        super().__init__()
        self.window = Window(high=1000, low=300)
        self.sent = 0
        self.acked = 0

    @rule(wish=st.integers(1, 400))
    def send(self, wish: int) -> None:
        size = min(wish, self.window.room)
        if size:
            self.window.on_sent(size)
            self.sent += size

    @rule(total=st.integers(0, 5000))
    def ack(self, total: int) -> None:
        if total > self.sent:
            with pytest.raises(AckBeyondSent):
                self.window.on_ack(total)
        else:
            assert self.window.on_ack(total) == (total > self.acked)
            self.acked = max(self.acked, total)

    @invariant()
    def never_more_than_the_high_mark_is_on_its_way(self) -> None:
        assert 0 <= self.window.unacked <= 1000
        assert self.window.unacked == self.sent - self.acked

    @invariant()
    def below_the_low_mark_there_is_room(self) -> None:
        assert self.window.room >= 0
        if self.window.unacked <= 300:
            assert self.window.room == 1000 - self.window.unacked


TestWindowMachine = WindowMachine.TestCase


def test_a_redrawn_screen_is_no_flood_and_a_second_of_output_is() -> None:
    pace = Pace()
    assert not pace.is_flood(BURST_BYTES - 1, now=0.0)
    assert pace.is_flood(BURST_BYTES, now=0.001)
    assert not pace.is_flood(1, now=1.0), "credit comes back"


def test_typing_fast_is_never_a_flood() -> None:
    pace = Pace()
    assert not any(pace.is_flood(100, now=n / 1000) for n in range(10_000))


def test_only_the_typing_of_others_counts_and_not_for_long() -> None:
    typists = Typists()
    ana, ben = object(), object()
    assert not typists.others_type(ana, now=0.0)
    typists.typed(ana, now=10.0)
    assert not typists.others_type(ana, now=10.1)
    assert typists.others_type(ben, now=10.1)
    typists.typed(ben, now=10.2)
    typists.typed(ben, now=10.3)
    assert typists.others_type(ben, now=10.4), "ana typed at 10.0"
    assert typists.others_type(ana, now=10.4)
    assert not typists.others_type(ben, now=10.0 + TYPING_S)
    assert not typists.others_type(ana, now=10.3 + TYPING_S)
