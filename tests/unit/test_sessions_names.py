"""COI's naming rule, with the vectors of its reference."""

from __future__ import annotations

import uuid

import pytest

from sessions.names import (
    SLOTS,
    container_name,
    hash8,
    identity_of,
    is_workspace_name,
    parse_container_name,
    volume_name,
    workspace_slug,
)

VECTORS = [
    ("/home/ana/projects/shop", "eb88b3db", "coi-eb88b3db-1"),
    ("/srv/repos/api", "e72064db", "coi-e72064db-1"),
    ("session-name:shop-main", "8e8a35d9", "coi-8e8a35d9-1"),
]


@pytest.mark.parametrize(("identity", "digest", "first"), VECTORS)
def test_names_are_those_that_coi_gives(identity: str, digest: str, first: str) -> None:
    assert hash8(identity) == digest
    assert container_name(identity, 1) == first
    assert container_name(identity, 10, prefix="x-") == f"x-{digest}-10"


def test_a_workspace_has_the_identity_of_a_session_name() -> None:
    assert identity_of("shop-main") == "session-name:shop-main"
    assert workspace_slug("ana", "shop") == "ana.shop"


@pytest.mark.parametrize("slot", [0, 11, -1])
def test_slots_end_at_ten(slot: int) -> None:
    assert list(SLOTS) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    with pytest.raises(ValueError, match="outside 1 to 10"):
        container_name("x", slot)


def test_names_can_be_read_back_and_nothing_else_can() -> None:
    parsed = parse_container_name("coi-eb88b3db-7")
    assert parsed is not None
    assert (parsed.hash8, parsed.slot) == ("eb88b3db", 7)
    for other in ("coi-eb88b3db", "coi-EB88B3DB-1", "xcoi-eb88b3db-1", "coi-eb88b3db-1x", "coi-eb88b3db-\n1"):
        assert parse_container_name(other) is None, other
    assert parse_container_name("c.i-eb88b3db-1", prefix="c.i-") is not None
    assert parse_container_name("coi-eb88b3db-1", prefix="c.i-") is None


@pytest.mark.parametrize("name", ["a", "0", "shop-main", "a" * 31])
def test_workspace_names(name: str) -> None:
    assert is_workspace_name(name)


@pytest.mark.parametrize(
    "name", ["", "-a", "A", "a/b", "..", "a.b", "a" * 32, "a" * 300, "😀", "<b>", "a\n", "ä", "a b"]
)
def test_what_is_no_workspace_name(name: str) -> None:
    assert not is_workspace_name(name)


def test_a_volume_never_has_the_name_of_an_earlier_one() -> None:
    first, second = uuid.uuid4(), uuid.uuid4()
    assert volume_name("ana.shop", first) == f"coi-web-ana-shop-{first.hex[:8]}"
    assert volume_name("ana.shop", first) != volume_name("ana.shop", second)
