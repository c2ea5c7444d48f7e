"""docker-compose.yml runs the processes of the launcher, with secrets as files and nothing privileged."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from django.conf import settings

PANEL = {"migrate", "web", "worker", "beat", "agent"}


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    document = yaml.safe_load((settings.BASE_DIR / "docker-compose.yml").read_text())
    services: dict[str, dict[str, Any]] = document["services"]
    return services


def test_every_process_is_there(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == PANEL | {"postgres", "redis"}


def test_commands_name_things_that_exist(services: dict[str, dict[str, Any]]) -> None:
    assert "coi_web.asgi:application" in services["web"]["command"]
    assert "--ws-per-message-deflate=false" in services["web"]["command"]
    for name in ("worker", "beat"):
        assert services[name]["command"][:3] == ["celery", "-A", "coi_web.celery"]
    assert services["agent"]["command"] == ["python", "manage.py", "monitor"]


def test_only_who_needs_the_engine_holds_its_socket(services: dict[str, dict[str, Any]]) -> None:
    holders = {name for name, service in services.items() if "unix.socket" in str(service.get("volumes", ""))}
    assert holders == {"web", "worker", "agent"}


@pytest.mark.parametrize("name", sorted(PANEL))
def test_panel_processes_are_confined_and_read_secrets_from_files(
    services: dict[str, dict[str, Any]], name: str
) -> None:
    service = services[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "privileged" not in service
    environment = service["environment"]
    for variable in ("COI_SECRET_KEY", "COI_AUDIT_KEY", "COI_DATABASE_URL"):
        assert variable not in environment
        assert environment[f"{variable}_FILE"].startswith("/run/secrets/")
