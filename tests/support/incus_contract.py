"""What every engine must do: run against the fake and against the real daemon, so that they stay alike.

A test file subclasses :class:`CallContract` and :class:`StreamContract` and provides the fixture ``world``.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coi_web.errors import (
    IncusConflict,
    IncusError,
    IncusNotFound,
    IncusTimedOut,
    InstanceFrozen,
)
from coi_web.incus.api import IncusApi, IncusStreams
from coi_web.incus.types import InstanceSpec, InstanceStatus
from tests.support.panel import wait_for

_numbers = itertools.count(1)
MIB = 1 << 20


@dataclass(frozen=True)
class World:
    """One engine under test. ``alias`` names an image that boots; ``second_image`` makes a tarball to import."""

    api: IncusApi
    streams: Callable[[], IncusStreams]
    pool: str
    alias: str
    second_image: Callable[[Path], Path]
    made: list[str] = field(default_factory=list)
    boxes: list[str] = field(default_factory=list)

    def spec(self, *, volume: str | None = None, config: dict[str, str] | None = None) -> InstanceSpec:
        """A container of a new name, removed when the test ends."""
        devices = {"root": {"type": "disk", "path": "/", "pool": self.pool}}
        if volume:
            devices["workspace"] = {
                "type": "disk",
                "pool": self.pool,
                "source": volume,
                "path": "/workspace",
            }
        name = f"c{next(_numbers)}"
        self.made.append(name)
        return InstanceSpec(name, self.alias, config or {}, devices)

    def running(self) -> str:
        spec = self.spec()
        self.api.create_instance(spec)
        self.api.start_instance(spec.name)
        return spec.name

    def clean(self) -> None:
        while self.made:
            name = self.made.pop()
            with suppress(IncusConflict, IncusNotFound):
                self.api.stop_instance(name, force=True)
            with suppress(IncusNotFound):
                self.api.delete_instance(name)


class Contract:
    """Fixtures for both halves."""

    @pytest.fixture
    def api(self, world: World) -> Iterator[IncusApi]:
        yield world.api
        world.clean()

    @pytest.fixture
    def box(self, world: World) -> str:
        """A running container that tests leave as they found it; all of them share it."""
        if not world.boxes:
            world.boxes.append(world.running())
            world.made.remove(world.boxes[0])
        return world.boxes[0]

    @pytest.fixture
    async def streams(self, world: World) -> AsyncIterator[IncusStreams]:
        streams = world.streams()
        yield streams
        await streams.aclose()


class CallContract(Contract):
    """The blocking half."""

    def test_server_and_pool(self, world: World, api: IncusApi) -> None:
        assert api.server().version
        pool = api.pool(world.pool)
        assert pool.name == world.pool
        assert 0 <= pool.used_bytes < pool.total_bytes

    # -- the life of an instance --------------------------------------------------------------------------

    def test_created_is_stopped_and_listed(self, world: World, api: IncusApi) -> None:
        spec = world.spec(config={"user.coi_web.owner": "ann"})
        api.create_instance(spec)
        found = api.instance(spec.name)
        assert found.status is InstanceStatus.STOPPED
        assert found.config["user.coi_web.owner"] == "ann"
        assert found.devices["root"]["pool"] == world.pool
        assert set(found.devices) == set(spec.devices)
        assert found.image == api.image(world.alias).fingerprint
        assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=5)
        assert spec.name in [one.name for one in api.instances()]

    def test_created_from_a_fingerprint(self, world: World, api: IncusApi) -> None:
        fingerprint = api.image(world.alias).fingerprint
        spec = world.spec()
        api.create_instance(InstanceSpec(spec.name, fingerprint, {}, spec.devices))
        assert api.instance(spec.name).image == fingerprint

    def test_name_taken(self, world: World, api: IncusApi) -> None:
        spec = world.spec()
        api.create_instance(spec)
        with pytest.raises(IncusConflict) as caught:
            api.create_instance(spec)
        assert caught.value.code == "already-exists"

    def test_image_missing(self, world: World, api: IncusApi) -> None:
        spec = world.spec()
        with pytest.raises(IncusNotFound) as caught:
            api.create_instance(InstanceSpec(spec.name, "no-such-image", {}, spec.devices))
        assert caught.value.code == "image-not-found"
        assert spec.name not in [one.name for one in api.instances()]

    def test_volume_missing(self, world: World, api: IncusApi) -> None:
        spec = world.spec(volume="no-such-volume")
        with pytest.raises(IncusNotFound):
            api.create_instance(spec)
        assert spec.name not in [one.name for one in api.instances()]

    def test_start_and_stop(self, world: World, api: IncusApi) -> None:
        name = world.running()
        assert api.instance(name).status is InstanceStatus.RUNNING
        [listed] = [one for one in api.instances(with_pids=True) if one.name == name]
        assert listed.host_pid
        with pytest.raises(IncusConflict) as caught:
            api.start_instance(name)
        assert caught.value.code == "already-running"
        with pytest.raises(IncusConflict) as caught:
            api.delete_instance(name)
        assert caught.value.code == "still-running"
        api.stop_instance(name, force=True)
        assert api.instance(name).status is InstanceStatus.STOPPED
        for force in (True, False):
            with pytest.raises(IncusConflict) as caught:
                api.stop_instance(name, force=force)
            assert caught.value.code == "already-stopped"
        api.delete_instance(name)
        with pytest.raises(IncusNotFound):
            api.instance(name)

    def test_stop_that_asks(self, world: World, api: IncusApi) -> None:
        name = world.running()
        api.stop_instance(name, timeout_s=30)
        assert api.instance(name).status is InstanceStatus.STOPPED

    def test_freeze_and_unfreeze(self, world: World, api: IncusApi) -> None:
        name = world.running()
        with pytest.raises(IncusConflict) as caught:
            api.unfreeze_instance(name)
        assert caught.value.code == "already-running"
        api.freeze_instance(name)
        assert api.instance(name).status is InstanceStatus.FROZEN
        with pytest.raises(InstanceFrozen):
            api.freeze_instance(name)
        with pytest.raises(InstanceFrozen):
            api.run(name, ["true"])
        with pytest.raises(InstanceFrozen):
            api.stop_instance(name, timeout_s=5)
        with pytest.raises(IncusConflict):
            api.start_instance(name)
        api.unfreeze_instance(name)
        assert api.instance(name).status is InstanceStatus.RUNNING
        assert api.run(name, ["true"]).exit_code == 0

    def test_frozen_is_stopped_by_force(self, world: World, api: IncusApi) -> None:
        name = world.running()
        api.freeze_instance(name)
        api.stop_instance(name, force=True)
        assert api.instance(name).status is InstanceStatus.STOPPED

    def test_stopped_cannot_be_used(self, world: World, api: IncusApi) -> None:
        spec = world.spec()
        api.create_instance(spec)
        calls: list[Callable[[], object]] = [
            lambda: api.freeze_instance(spec.name),
            lambda: api.unfreeze_instance(spec.name),
            lambda: api.run(spec.name, ["true"]),
        ]
        for call in calls:
            with pytest.raises(IncusConflict) as caught:
                call()
            assert caught.value.code == "not-running"
        idle = api.usage(spec.name)
        assert (idle.memory_bytes, idle.processes, idle.addresses, idle.host_pid) == (0, 0, (), None)

    def test_unknown_names(self, world: World, api: IncusApi, tmp_path: Path) -> None:
        calls: list[Callable[[], object]] = [
            lambda: api.pool("nope"),
            lambda: api.instance("nope"),
            lambda: api.start_instance("nope"),
            lambda: api.stop_instance("nope"),
            lambda: api.stop_instance("nope", force=True),
            lambda: api.freeze_instance("nope"),
            lambda: api.unfreeze_instance("nope"),
            lambda: api.delete_instance("nope"),
            lambda: api.update_config("nope", {"user.a": "b"}),
            lambda: api.run("nope", ["true"]),
            lambda: api.usage("nope"),
            lambda: api.volumes("nope"),
            lambda: api.volume(world.pool, "nope"),
            lambda: api.create_volume("nope", "nope"),
            lambda: api.delete_volume(world.pool, "nope"),
            lambda: api.image("nope"),
        ]
        for index, call in enumerate(calls):
            with pytest.raises(IncusError) as caught:
                call()
            assert isinstance(caught.value, IncusNotFound), (index, caught.value.log_detail)
            assert "nope" in caught.value.message

    def test_update_config(self, world: World, api: IncusApi) -> None:
        spec = world.spec(config={"user.coi_web.team": "red", "user.coi_web.owner": "ann"})
        api.create_instance(spec)
        for _ in range(2):
            api.update_config(spec.name, {"user.coi_web.team": None, "user.coi_web.mode": "persistent"})
        config = api.instance(spec.name).config
        assert "user.coi_web.team" not in config
        assert config["user.coi_web.mode"] == "persistent"
        assert config["user.coi_web.owner"] == "ann"

    # -- commands -----------------------------------------------------------------------------------------

    def test_run_gives_back_everything(self, api: IncusApi, box: str) -> None:
        script = "cat; echo to-stderr >&2; echo $COLOUR; id -u; exit 3"
        result = api.run(
            box,
            ["sh", "-c", script],
            user=1000,
            environment={"COLOUR": "blue"},
            stdin=b"\xff\x00raw\n",
        )
        assert result.stdout == b"\xff\x00raw\nblue\n1000\n"
        assert result.stderr == b"to-stderr\n"
        assert result.exit_code == 3
        assert result.truncated is False

    def test_run_in_a_folder(self, api: IncusApi, box: str) -> None:
        assert api.run(box, ["pwd"], cwd="/tmp").stdout == b"/tmp\n"

    def test_run_missing_command(self, api: IncusApi, box: str) -> None:
        assert api.run(box, ["no-such-command"]).exit_code == 127

    def test_run_with_large_input(self, api: IncusApi, box: str) -> None:
        data = bytes(range(256)) * 4096
        result = api.run(box, ["cat"], stdin=data, max_output_bytes=2 * MIB)
        assert result.stdout == data

    def test_run_does_not_wait_for_input_to_be_read(self, api: IncusApi, box: str) -> None:
        assert api.run(box, ["true"], stdin=bytes(4 * MIB)).exit_code == 0

    def test_run_keeps_no_more_than_asked(self, api: IncusApi, box: str) -> None:
        result = api.run(box, ["head", "-c", "300000", "/dev/zero"], max_output_bytes=1000)
        assert (result.exit_code, len(result.stdout), result.truncated) == (0, 1000, True)

    def test_run_ends_at_its_limit(self, api: IncusApi, box: str) -> None:
        with pytest.raises(IncusTimedOut):
            api.run(box, ["sleep", "61"], timeout_s=0.5)

    def test_usage(self, api: IncusApi, box: str) -> None:
        usage = api.usage(box)
        assert usage.processes >= 1
        assert usage.memory_bytes > 0
        assert usage.cpu_s > 0
        assert usage.host_pid

    # -- volumes ------------------------------------------------------------------------------------------

    def test_volume(self, world: World, api: IncusApi) -> None:
        name = f"v{next(_numbers)}"
        api.create_volume(
            world.pool, name, size_bytes=32 * MIB, config={"user.coi_web.workspace": "ann.site"}
        )
        try:
            with pytest.raises(IncusConflict) as caught:
                api.create_volume(world.pool, name)
            assert caught.value.code == "already-exists"
            found = api.volume(world.pool, name)
            assert (found.name, found.pool, found.size_bytes, found.used_by) == (
                name,
                world.pool,
                32 * MIB,
                (),
            )
            assert found.config["user.coi_web.workspace"] == "ann.site"
            # Right after its making, btrfs may not have counted a volume yet.
            wait_for("the volume's use", lambda: api.volume(world.pool, name).used_bytes is not None)
            assert name in [one.name for one in api.volumes(world.pool)]
            spec = world.spec(volume=name)
            api.create_instance(spec)
            assert api.volume(world.pool, name).used_by == (spec.name,)
            with pytest.raises(IncusConflict) as caught:
                api.delete_volume(world.pool, name)
            assert caught.value.code == "in-use"
            api.delete_instance(spec.name)
        finally:
            world.clean()
            api.delete_volume(world.pool, name)
        assert name not in [one.name for one in api.volumes(world.pool)]

    # -- images -------------------------------------------------------------------------------------------

    def test_import_image(self, world: World, api: IncusApi, tmp_path: Path) -> None:
        tarball = world.second_image(tmp_path)
        first = api.import_image(tarball, "second")
        assert api.import_image(tarball, "second").fingerprint == first.fingerprint
        assert "second" in api.image("second").aliases
        assert first.size_bytes == tarball.stat().st_size
        assert first.fingerprint in [one.fingerprint for one in api.images()]
        assert api.import_image(tarball, "third").fingerprint == first.fingerprint
        assert set(api.image("third").aliases) >= {"second", "third"}
