"""What only a real engine can show: full disks, survivors of a closed terminal, labs of killed runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from coi_web.errors import DiskFull, IncusNotFound
from coi_web.incus import tiny_image
from coi_web.incus.rest import IncusRest
from coi_web.incus.streams import IncusEventStreams
from coi_web.incus.types import ExecRequest, IncusConfig, InstanceSpec
from tests.support.incus_lab import IMAGE, IncusLab, remove_leftovers

MIB = 1 << 20

_ABANDON = """
import os
from coi_web.incus.types import InstanceSpec
from tests.support.incus_lab import IMAGE, incus_lab

context = incus_lab()
lab = context.__enter__()
lab.api.create_instance(InstanceSpec("left", IMAGE, {}, lab.devices(network=True)))
lab.api.start_instance("left")
lab.api.freeze_instance("left")
lab.api.create_volume(lab.name, "left", size_bytes=8 << 20)
print(lab.name, flush=True)
os._exit(1)
"""


@pytest.fixture
def box(lab: IncusLab) -> Iterator[str]:
    devices = lab.devices(network=True)
    devices["root"]["size"] = str(24 * MIB)
    lab.api.create_instance(InstanceSpec("limit-box", IMAGE, {}, devices))
    lab.api.start_instance("limit-box")
    yield "limit-box"
    lab.empty()


def test_full_root_disk(lab: IncusLab, box: str) -> None:
    if lab.api.pool(lab.name).driver != "btrfs":
        pytest.skip("this pool has no quota")
    filled = lab.api.run(box, ["dd", "if=/dev/zero", "of=/big", "bs=1M", "count=64"])
    assert b"quota exceeded" in filled.stderr.lower()
    # Incus keeps its own copy of the settings on the same, full disk.
    with pytest.raises(DiskFull) as caught:
        lab.api.update_config(box, {"user.coi_web.note": "x" * 400_000})
    assert "disk is full" in caught.value.message
    lab.api.run(box, ["rm", "/big"])
    lab.api.update_config(box, {"user.coi_web.note": None})


def test_volume_quota_belongs_to_the_user(lab: IncusLab) -> None:
    config = {"initial.uid": str(tiny_image.CODE_UID), "initial.gid": str(tiny_image.CODE_UID)}
    lab.api.create_volume(lab.name, "quota", size_bytes=16 * MIB, config=config)
    lab.api.create_instance(InstanceSpec("quota-box", IMAGE, {}, lab.devices(volume="quota")))
    lab.api.start_instance("quota-box")
    command = ["dd", "if=/dev/zero", "of=/workspace/big", "bs=1M", "count=32"]
    result = lab.api.run("quota-box", command, user=tiny_image.CODE_UID)
    assert b"quota exceeded" in result.stderr.lower()
    assert (lab.api.volume(lab.name, "quota").used_bytes or 0) > 8 * MIB
    lab.empty()


async def test_closing_ends_what_ignores_the_hangup(lab: IncusLab, box: str) -> None:
    streams = IncusEventStreams(lab.config)
    script = "trap '' HUP; echo ready; while true; do sleep 1000; done"
    stream = await streams.open_exec(box, ExecRequest(("sh", "-c", script)))
    assert b"ready" in await stream.read()
    await stream.aclose()
    async with asyncio.timeout(10):
        while b"trap" in (await asyncio.to_thread(lab.api.run, box, ["ps", "-o", "args"])).stdout:
            await asyncio.to_thread(lab.api.run, box, ["sleep", "0.05"])
    await streams.aclose()


async def test_an_unread_flood_waits_in_the_container(lab: IncusLab, box: str) -> None:
    streams = IncusEventStreams(lab.config)
    script = "i=0; while true; do i=$((i+1)); echo $i >/tmp/count; seq 1 2000; done"
    stream = await streams.open_exec(box, ExecRequest(("sh", "-c", script)))
    assert await stream.read()

    async def count() -> bytes:
        return (await asyncio.to_thread(lab.api.run, box, ["cat", "/tmp/count"])).stdout

    async with asyncio.timeout(30):
        before = await count()
        while True:
            # Between two looks it would write megabytes if anything took them.
            await asyncio.to_thread(lab.api.run, box, ["sleep", "0.3"])
            after = await count()
            if after == before:
                break
            before = after
    assert int(after) < 2000
    await stream.aclose()
    await streams.aclose()


def test_tiny_image_comes_up_with_an_address(lab: IncusLab, box: str) -> None:
    deadline = 200
    while not (addresses := lab.api.usage(box).addresses):
        deadline -= 1
        assert deadline, "no address"
        lab.api.run(box, ["sleep", "0.05"])
    assert addresses[0].startswith("10.")
    assert lab.api.run(box, ["id"], user=1000).stdout.startswith(b"uid=1000(code) gid=1000(code)")
    owner = lab.api.run(box, ["stat", "-c", "%u", "/workspace"])
    assert owner.stdout == b"1000\n"


def test_tiny_image_is_the_same_each_time(lab: IncusLab) -> None:
    assert tiny_image.ensure_tiny_image(lab.api, IMAGE) == lab.api.image(IMAGE)


def test_a_killed_run_is_cleared_away(lab: IncusLab) -> None:
    child = subprocess.run(
        [sys.executable, "-c", _ABANDON], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    name = child.stdout.strip()
    assert name, child.stderr
    rest = IncusRest(IncusConfig(endpoint=lab.config.endpoint))
    assert rest.ask("GET", "projects", name, doing="look")["name"] == name
    assert name in remove_leftovers(rest)
    for kind in ("projects", "storage-pools", "networks"):
        with pytest.raises(IncusNotFound):
            rest.ask("GET", kind, name, doing="look")
    # This run's own lab is not touched.
    assert rest.ask("GET", "projects", lab.name, doing="look")["name"] == lab.name
    rest.close()
