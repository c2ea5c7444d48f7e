"""Frames of the terminal socket: what is read, what is refused, and that both halves agree."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coi_web import errors
from sessions.terminals import flow, protocol
from sessions.terminals.protocol import Ack, CloseCode, Ping, ProtocolError, Resize

JAVASCRIPT_HALF = Path(__file__).parents[2] / "static/js/terminal/protocol.js"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "frame"),
    [
        ('{"type":"resize","cols":132,"rows":43}', Resize(132, 43)),
        ('{"type":"ack","bytes":0}', Ack(0)),
        ('{"type":"ack","bytes":9007199254740991}', Ack(2**53 - 1)),
        ('{"type":"ping","id":7}', Ping(7)),
        ('{"type":"ping","id":"a-b","later":{"field":1}}', Ping("a-b")),
    ],
)
def test_each_kind_is_read(text: str, frame: protocol.ClientFrame) -> None:
    assert protocol.parse(text) == frame


@pytest.mark.parametrize(
    ("cols", "rows", "expected"),
    [(0, 0, (2, 1)), (1, 1, (2, 1)), (100_000, 100_000, (1000, 1000)), (1000, 1, (1000, 1))],
)
def test_a_size_no_screen_has_is_brought_into_range(cols: int, rows: int, expected: tuple[int, int]) -> None:
    text = json.dumps({"type": "resize", "cols": cols, "rows": rows})
    assert protocol.parse(text) == Resize(*expected)
    assert protocol.size_from_query(str(cols), str(rows)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        '"resize"',
        "{}",
        '{"type":"RESIZE","cols":1,"rows":1}',
        '{"type":["resize"]}',
        '{"type":"exit","code":0}',
        '{"type":"resize","cols":80}',
        '{"type":"resize","cols":"80","rows":24}',
        '{"type":"resize","cols":80.0,"rows":24}',
        '{"type":"resize","cols":true,"rows":24}',
        '{"type":"resize","cols":-1,"rows":24}',
        '{"type":"resize","cols":1e99,"rows":24}',
        '{"type":"ack"}',
        '{"type":"ack","bytes":-1}',
        '{"type":"ack","bytes":9007199254740992}',
        '{"type":"ack","bytes":NaN}',
        '{"type":"ping"}',
        '{"type":"ping","id":null}',
        '{"type":"ping","id":{"a":1}}',
        json.dumps({"type": "ping", "id": "x" * 65}),
        "[" * 1000,
        "9" * 1000,
        '{"type":"ping","id":1}' + " " * 1024,
        "x" * 10_000_000,
    ],
    ids=lambda text: text[:40] or "empty",
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.parse(text)


@given(st.text(max_size=2000) | json_values.map(json.dumps))
def test_no_text_makes_the_parser_raise_anything_but_its_own_error(text: str) -> None:
    try:
        frame = protocol.parse(text)
    except ProtocolError:
        return
    assert isinstance(frame, Resize | Ack | Ping)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["resize", "ack", "ping"])},
        optional=dict.fromkeys(("cols", "rows", "bytes", "id"), json_values),
    )
)
def test_what_is_accepted_lies_within_the_limits(frame: dict[str, object]) -> None:
    try:
        parsed = protocol.parse(json.dumps(frame))
    except ProtocolError:
        return
    match parsed:
        case Resize(cols, rows):
            assert 2 <= cols <= 1000
            assert 1 <= rows <= 1000
        case Ack(total):
            assert 0 <= total <= 2**53 - 1
        case Ping(ident):
            pong = json.loads(protocol.dump({"type": "pong", "id": ident}))
            assert pong == {"type": "pong", "id": ident}


def test_input_up_to_the_limit_passes_and_one_byte_more_does_not() -> None:
    longest = b"x" * protocol.MAX_INPUT_BYTES
    assert protocol.check_input(longest) is longest
    with pytest.raises(ProtocolError, match="10485760 bytes"):
        protocol.check_input(b"x" * 10 * 1024 * 1024)
    with pytest.raises(ProtocolError):
        protocol.check_input(longest + b"x")


@pytest.mark.parametrize("text", ["", "80.5", "-3", "0x50", "٨٠", "12345678", "8 0"])
def test_an_unreadable_size_in_the_address_becomes_the_default(text: str) -> None:
    assert protocol.size_from_query(text, None) == (80, 24)


def test_honest_browsers_acknowledge_before_the_window_locks() -> None:
    assert protocol.ACK_EVERY_BYTES < flow.HIGH_BYTES - flow.LOW_BYTES


def test_close_codes_are_in_the_range_for_applications() -> None:
    assert all(4400 <= code < 4600 for code in CloseCode if code is not CloseCode.NORMAL)
    assert CloseCode.NOT_RUNNING.reason == "not-running"


def _error_classes(base: type[errors.CoiError]) -> list[type[errors.CoiError]]:
    return [base, *(deeper for child in base.__subclasses__() for deeper in _error_classes(child))]


@pytest.mark.parametrize("error", _error_classes(errors.CoiError), ids=lambda error: error.__name__)
def test_every_expected_error_closes_with_a_code_of_the_table(error: type[errors.CoiError]) -> None:
    assert error.close_code in set(CloseCode)


def test_the_javascript_half_has_the_same_close_codes_and_limits() -> None:
    source = JAVASCRIPT_HALF.read_text()
    named = dict(re.findall(r'^  (\d{4}): \{ name: "([a-z-]+)"', source, re.MULTILINE))
    assert named == {str(code.value): code.reason for code in CloseCode}
    for name in ("MIN_COLS", "MAX_COLS", "MIN_ROWS", "MAX_ROWS", "ACK_EVERY_BYTES", "MAX_INPUT_BYTES"):
        found = re.search(rf"^export const {name} = ([\d *]+);", source, re.MULTILINE)
        assert found, f"{name} is missing"
        assert math.prod(int(factor) for factor in found[1].split("*")) == getattr(protocol, name)
