"""The OpenAPI document is valid, and no request that follows it, or nearly does, gets an undocumented answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from django.core.management import call_command
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, transaction
from django.test import TestCase
from drf_spectacular.generators import SchemaGenerator
from schemathesis.checks import CHECKS

from coi_web.accounts.services import create_token
from tests.support.cast import make_cast
from tests.support.world import World, make_world

pytestmark = pytest.mark.django_db

_document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
schema = schemathesis.openapi.from_dict(_document)
schema.app = get_wsgi_application()

#: Left out: what needs a client that lies about its own token, and links between operations.
_CHECKS: list[Any] = [
    check
    for check in CHECKS.get_all()
    if check.__name__
    in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
]


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any) -> Iterator[World]:
    # As Django's own test client does: the connection holds the transaction that everything is undone with.
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    with django_db_blocker.unblock(), transaction.atomic():
        yield make_world(make_cast(), TestCase.captureOnCommitCallbacks)
        transaction.set_rollback(True)
    request_started.connect(close_old_connections)
    request_finished.connect(close_old_connections)


@pytest.fixture(scope="module")
def bearer(world: World) -> str:
    actor = world.cast.actor("administrator")
    return "Bearer " + create_token(actor=actor, name="schema", scope="write", days=1)[1]


def test_the_document_is_valid_and_warns_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn")
    assert "openapi: 3" in capsys.readouterr().out


def test_every_call_documents_refusals() -> None:
    for path, methods in _document["paths"].items():
        for method, operation in methods.items():
            documented = set(operation["responses"])
            assert {"400", "401", "403"} <= documented, f"{method} {path}"
            assert operation.get("description"), f"{method} {path} says nothing about itself"
            assert "{" not in path or "404" in documented, f"{method} {path}"


def test_the_four_checks_are_found() -> None:
    assert len(_CHECKS) == 4


@schema.parametrize()
@hypothesis.settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_answers_are_documented(case: schemathesis.Case[Any], world: World, bearer: str) -> None:
    """Each case as generated, then aimed at things that exist; what it changes is undone."""
    _send(case, bearer)
    known = {
        "username": "ana",
        "slug": "shop",
        "token_id": world.token.pk,
        "sequence": world.event.sequence,
        "public_id": str(world.operation.public_id),
        "key": world.spare.slug if "workspaces" in case.path else world.session.name,
        "action": "stop",
    }
    if case.path_parameters:
        case.path_parameters = {name: known[name] for name in case.path_parameters}
        _send(case, bearer)


def _send(case: schemathesis.Case[Any], bearer: str) -> None:
    with transaction.atomic():
        response = case.call(headers={"Authorization": bearer})
        case.validate_response(response, checks=_CHECKS)
        transaction.set_rollback(True)
