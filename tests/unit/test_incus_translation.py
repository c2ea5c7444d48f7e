"""Incus' texts become our errors, its JSON our values; and nothing secret gets out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from coi_web.errors import (
    DiskFull,
    IncusConflict,
    IncusError,
    IncusNotFound,
    IncusRejected,
    IncusTimedOut,
    IncusUnavailable,
    InstanceFrozen,
)
from coi_web.incus import access, errors, parse
from coi_web.incus.types import IncusConfig, InstanceStatus


@pytest.mark.parametrize(
    ("status", "text", "kind", "code"),
    [
        (
            400,
            "Failed to write backup file: write /x/backup.yaml: disk quota exceeded",
            DiskFull,
            "disk-full",
        ),
        (500, "mkdir /x: no space left on device", DiskFull, "disk-full"),
        (400, "Instance is frozen", InstanceFrozen, "instance-frozen"),
        (400, "The instance is already running", IncusConflict, "already-running"),
        (400, "The instance is already stopped", IncusConflict, "already-stopped"),
        (400, "Instance is not running", IncusConflict, "not-running"),
        (400, "Instance is running", IncusConflict, "still-running"),
        (400, "The storage volume is still in use", IncusConflict, "in-use"),
        (409, "Volume by that name already exists", IncusConflict, "already-exists"),
        (400, 'Instance is busy running a "stop" operation', IncusConflict, "busy"),
        (500, "Image not provided for instance creation", IncusNotFound, "image-not-found"),
        (404, "Instance not found", IncusNotFound, "incus-not-found"),
        (403, "not authorized", IncusRejected, "incus-not-trusted"),
        (400, "Failed shutting down instance: context deadline exceeded", IncusTimedOut, "did-not-stop"),
        (412, "ETag doesn't match", IncusConflict, "incus-conflict"),
        (503, "Shutting down", IncusUnavailable, "incus-unavailable"),
        (400, 'Reached maximum aggregate value "4"', IncusRejected, "engine-limit"),
        (500, "Invalid value: rubbish", IncusRejected, "incus-rejected"),
    ],
)
def test_texts(status: int, text: str, kind: type[IncusError], code: str) -> None:
    error = errors.rejected(status, text, doing="start c1")
    assert type(error) is kind
    assert error.code == code
    assert "start c1" in error.message
    assert text not in error.message
    assert text in error.log_detail


def test_long_texts_are_cut() -> None:
    assert len(errors.rejected(500, "x" * 100_000, doing="start c1").log_detail) < 3000


@pytest.mark.parametrize(
    ("text", "size"),
    [("10GiB", 10 << 30), ("1048576", 1 << 20), ("5 MB", 5_000_000), ("50%", None), ("", None), (None, None)],
)
def test_sizes(text: str | None, size: int | None) -> None:
    assert parse.size(text) == size


def test_moments() -> None:
    when = datetime(2026, 11, 23, 11, 45, 23, 12218, tzinfo=UTC)
    assert parse.moment("2026-11-23T11:45:23.012218129Z") == when
    assert parse.moment("2026-11-23T12:45:23.012218+01:00") == when
    assert parse.moment("0001-01-01T00:00:00Z").year == 1
    assert parse.moment("rubbish") == parse.moment(None)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("Running", InstanceStatus.RUNNING),
        ("Freezing", InstanceStatus.RUNNING),
        ("Aborting", InstanceStatus.STOPPING),
        ("Unheard of", InstanceStatus.UNKNOWN),
        (None, InstanceStatus.UNKNOWN),
    ],
)
def test_statuses(word: str | None, status: InstanceStatus) -> None:
    assert parse.status(word) is status


def test_events() -> None:
    event = parse.lifecycle(
        {
            "type": "lifecycle",
            "timestamp": "2026-11-23T11:45:23Z",
            "project": "red",
            "metadata": {
                "action": "instance-started",
                "source": "/1.0/instances/c1?project=red",
                "requestor": {"username": "ann"},
            },
        }
    )
    assert event is not None
    assert (event.action, event.name, event.project, event.requestor) == (
        "instance-started",
        "c1",
        "red",
        "ann",
    )
    assert parse.lifecycle({"type": "operation", "metadata": {"secret": "x"}}) is None
    assert parse.lifecycle({"type": "lifecycle", "metadata": None}) is None


@pytest.mark.parametrize(
    ("source", "own_name", "name"),
    [
        ("/1.0/instances/c1?project=red", "c1", "c1"),
        ("/1.0/instances/c1/snapshots/s1", "s1", "c1"),
        ("/1.0/storage-pools/p/volumes/custom/v%201?project=red", "red_v 1", "v 1"),
        ("/1.0/images/abc", "", "abc"),
        ("", "n1", "n1"),
    ],
)
def test_what_an_event_is_about(source: str, own_name: str, name: str) -> None:
    metadata = {"action": "a", "source": source, "name": own_name}
    event = parse.lifecycle({"type": "lifecycle", "metadata": metadata})
    assert event is not None
    assert event.name == name


def test_only_instances_count_as_users_of_a_volume() -> None:
    data = {
        "name": "v",
        "used_by": ["/1.0/instances/c1?project=red", "/1.0/profiles/default", "/1.0/instances/c%202"],
    }
    assert parse.volume(data, pool="p").used_by == ("c1", "c 2")


@pytest.mark.parametrize(
    "settings",
    [
        {"endpoint": "https://host:8443"},
        {"endpoint": "http://host:8443"},
        {"endpoint": "relative/path"},
        {"timeout_s": -1},
    ],
)
def test_settings_that_cannot_be_right(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"Incus"):
        access.config_from(settings)


def test_empty_settings_are_the_defaults() -> None:
    assert access.config_from({"client_cert": "", "endpoint": ""}) == IncusConfig()
