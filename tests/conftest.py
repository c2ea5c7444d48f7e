"""What all suites share: the cast, the fake engine, and nothing left running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.core.cache import cache
from pytest_django import DjangoDbBlocker

from coi_web.incus import set_backend_for_tests
from coi_web.incus.fake import FakeIncus
from tests.support.cast import Cast, make_cast


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """PostgreSQL drops no database that a thread of an event loop is still connected to."""
    yield
    from django.db import connection

    if connection.vendor == "postgresql":
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


@pytest.fixture(autouse=True)
def _audit_log_can_be_emptied(request: pytest.FixtureRequest) -> None:
    """Tests that commit empty all tables afterwards, which the append-only triggers would refuse."""
    if "transactional_db" in request.fixturenames or _is_transactional(request):
        request.getfixturevalue("django_db_setup")
        blocker = request.getfixturevalue("django_db_blocker")
        with blocker.unblock():
            from django.db import connection

            from coi_web.audit.guards import remove_guards

            remove_guards(connection)


def _is_transactional(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("django_db")
    return bool(marker and marker.kwargs.get("transaction"))


@pytest.fixture(autouse=True)
def _fresh_cache() -> Iterator[None]:
    cache.clear()
    yield


@pytest.fixture(autouse=True)
def _fresh_engine() -> Iterator[None]:
    """Each test meets a fake engine without a past."""
    set_backend_for_tests(None, None)
    yield


@pytest.fixture
def cast(db: None) -> Cast:
    """Owner, teammate, lead, auditor, other team, stranger, disabled, administrator."""
    return make_cast()


@pytest.fixture
def fake_incus() -> Iterator[FakeIncus]:
    """A fresh engine in memory, in use by everything; waiting calls are let go at the end."""
    fake = FakeIncus()
    set_backend_for_tests(fake, fake)
    yield fake
    fake.behave_well()
    set_backend_for_tests(None, None)
