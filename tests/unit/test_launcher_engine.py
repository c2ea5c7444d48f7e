"""Ours is made; what the environment names is used or missed, never made."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, cast

import pytest

from coi_web.launcher.engine import Engine
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.incus_rest import MARK, IncusRefused, IncusRest
from coi_web.launcher.incus_setup import ensure_network, ensure_pool
from coi_web.launcher.output import Output
from coi_web.launcher.sizes import GIB


class FakeRest:
    """Remembers what was made; ``refuses`` are drivers that do not work here."""

    def __init__(self, *there: str, refuses: tuple[str, ...] = ()) -> None:
        self.there = set(there)
        self.refuses = refuses
        self.made: list[dict[str, Any]] = []

    def find(self, url: str) -> dict[str, Any] | None:
        return {} if url in self.there else None

    def get(self, url: str, **query: object) -> Any:
        return [{"config": {"ipv4.address": "10.118.0.1/16"}}, {"config": None}]

    def change(self, method: str, url: str, body: dict[str, Any], **options: object) -> None:
        if body.get("driver") in self.refuses:
            raise IncusRefused(500, "no such driver\nand more")
        self.made.append(body)


def use(rest: FakeRest) -> IncusRest:
    return cast(IncusRest, rest)


def output() -> tuple[Output, io.StringIO]:
    stream = io.StringIO()
    return Output(stream, interactive=False), stream


def test_what_is_there_is_left_alone() -> None:
    rest = FakeRest("/1.0/storage-pools/coi-web", "/1.0/networks/coiweb0")
    ensure_pool(use(rest), output()[0])
    ensure_network(use(rest), output()[0])
    assert rest.made == []


def test_ours_are_made_and_marked() -> None:
    rest = FakeRest()
    ensure_pool(use(rest), output()[0], size=20 * GIB)
    ensure_network(use(rest), output()[0])
    pool, network = rest.made
    assert (pool["name"], pool["driver"], pool["config"]["size"]) == ("coi-web", "btrfs", "20GiB")
    assert network["name"] == "coiweb0"
    assert network["config"]["ipv4.address"] != "10.118.76.1/24"
    assert pool["config"][MARK] == network["config"][MARK] == "true"


def test_without_btrfs_a_plain_folder_and_a_warning() -> None:
    rest = FakeRest(refuses=("btrfs",))
    out, stream = output()
    ensure_pool(use(rest), out, size=20 * GIB)
    assert [body["driver"] for body in rest.made] == ["dir"]
    assert "because btrfs did not work: no such driver" in stream.getvalue()
    assert "no size limits" in stream.getvalue()


def test_without_any_driver_it_says_why() -> None:
    with pytest.raises(LauncherError) as refusal:
        ensure_pool(use(FakeRest(refuses=("btrfs", "dir"))), output()[0], size=20 * GIB)
    assert refusal.value.code == "incus-pool"
    assert "no such driver" in refusal.value.detail


def test_others_things_are_never_made() -> None:
    rest = FakeRest()
    with pytest.raises(LauncherError) as pool:
        ensure_pool(use(rest), output()[0], "theirs")
    with pytest.raises(LauncherError) as network:
        ensure_network(use(rest), output()[0], "theirs0")
    assert (pool.value.code, network.value.code) == ("incus-pool", "incus-network")
    assert "COI_INCUS_POOL" in pool.value.mend[0]
    assert rest.made == []


def test_environment_names_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("COI_"):
            monkeypatch.delenv(name)
    ours = Engine.from_environment(tiny=False)
    assert (ours.project, ours.pool, ours.network, ours.image) == (
        "default",
        "coi-web",
        "coiweb0",
        "coi-default",
    )
    assert ours.is_ours_to_start
    assert Engine.from_environment(tiny=True).image == "coi-tiny"
    monkeypatch.setenv("COI_INCUS_ENDPOINT", "/run/other/unix.socket")
    monkeypatch.setenv("COI_INCUS_PROJECT", "lab")
    other = Engine.from_environment(tiny=False)
    assert not other.is_ours_to_start
    assert other.client() == IncusRest(Path("/run/other/unix.socket"), "lab")
    monkeypatch.setenv("COI_INCUS_ENDPOINT", "https://incus.test:8443")
    assert Engine.from_environment(tiny=False).remote == "https://incus.test:8443"
