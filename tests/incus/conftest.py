"""Tests in this folder need a real Incus: skipped without one, unless COI_REQUIRE_INCUS=1 says to fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from coi_web.errors import IncusUnavailable
from tests.support.incus_lab import IncusLab, incus_lab

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.incus)


@pytest.fixture(scope="session")
def lab() -> Iterator[IncusLab]:
    """A corner of Incus for this run of the tests."""
    try:
        context = incus_lab()
        found = context.__enter__()
    except IncusUnavailable as error:
        if os.environ.get("COI_REQUIRE_INCUS") == "1":
            pytest.fail(f"COI_REQUIRE_INCUS=1, but {error.log_detail}")
        pytest.skip("no Incus on this machine")
    try:
        yield found
    finally:
        context.__exit__(None, None, None)
