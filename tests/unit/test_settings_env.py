"""Environment readers: a value that cannot be used stops the start with the variable's name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from coi_web.settings import env

NAME = "COI_TEST_VALUE"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.delenv(f"{NAME}_FILE", raising=False)


class TestReaders:
    @pytest.mark.parametrize(
        ("raw", "value"),
        [
            ("1", True),
            ("Yes", True),
            (" on ", True),
            ("TRUE", True),
            ("0", False),
            ("no", False),
            ("Off", False),
        ],
    )
    def test_booleans(self, monkeypatch: pytest.MonkeyPatch, raw: str, value: bool) -> None:
        monkeypatch.setenv(NAME, raw)
        assert env.boolean(NAME, not value) is value

    @pytest.mark.parametrize("default", [True, False])
    def test_unset_and_empty_are_the_default(self, monkeypatch: pytest.MonkeyPatch, default: bool) -> None:
        assert env.boolean(NAME, default) is default
        monkeypatch.setenv(NAME, "")
        assert env.boolean(NAME, default) is default
        assert env.text(NAME, "x") == "x"
        assert env.words(NAME, ["x"]) == ["x"]
        assert env.integer(NAME, 5) == 5

    def test_words_and_paths(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv(NAME, " a, b ,,c ")
        assert env.words(NAME, []) == ["a", "b", "c"]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv(NAME, "below")
        assert env.path(NAME, Path("/x")) == tmp_path / "below"

    @pytest.mark.parametrize(
        ("read", "raw"),
        [
            (lambda: env.boolean(NAME, True), "maybe"),
            (lambda: env.integer(NAME, 1), "many"),
            (lambda: env.integer(NAME, 1), "1.5"),
            (lambda: env.integer(NAME, 1, least=1), "0"),
            (lambda: env.integer(NAME, 1, most=9), "10"),
            (lambda: env.choice(NAME, "a", ("a", "b")), "c"),
        ],
    )
    def test_a_value_that_cannot_be_used_names_the_variable(
        self, monkeypatch: pytest.MonkeyPatch, read: Any, raw: str
    ) -> None:
        monkeypatch.setenv(NAME, raw)
        with pytest.raises(ImproperlyConfigured, match=NAME):
            read()


class TestSecrets:
    def test_from_the_environment_or_a_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "secret"
        file.write_text("from a file\n")
        monkeypatch.setenv(f"{NAME}_FILE", str(file))
        assert env.secret(NAME) == "from a file"
        monkeypatch.setenv(NAME, "plain")
        with pytest.raises(ImproperlyConfigured, match=f"{NAME} and {NAME}_FILE are both set"):
            env.secret(NAME)
        monkeypatch.delenv(f"{NAME}_FILE")
        assert env.secret(NAME) == "plain"

    def test_missing(self) -> None:
        with pytest.raises(ImproperlyConfigured, match=f"{NAME} .*must be set"):
            env.secret(NAME)
        assert env.secret(NAME, "default") == "default"

    def test_a_file_that_cannot_be_read_even_with_a_default(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        binary, empty = tmp_path / "binary", tmp_path / "empty"
        binary.write_bytes(b"\xff\xfe\x00")
        empty.write_text(" \n")
        for file, reason in (
            (tmp_path / "none", "No such file"),
            (tmp_path, "directory"),
            (binary, "decode"),
            (empty, "empty"),
        ):
            monkeypatch.setenv(f"{NAME}_FILE", str(file))
            with pytest.raises(ImproperlyConfigured, match=f"{NAME}_FILE .*{reason}"):
                env.secret(NAME, "default")


class TestDatabase:
    def test_sqlite(self) -> None:
        found = env.database_from_url(NAME, "sqlite:////srv/a%20b.sqlite3")
        assert found["NAME"] == "/srv/a b.sqlite3"
        options: Any = found["OPTIONS"]
        assert options["transaction_mode"] == "IMMEDIATE"

    def test_postgresql(self) -> None:
        found = env.database_from_url(NAME, "postgresql://us%40er:p%2Fw@db.example:5433/na%20me")
        expected = {"NAME": "na me", "USER": "us@er", "PASSWORD": "p/w", "HOST": "db.example", "PORT": "5433"}
        assert {key: found[key] for key in expected} == expected
        assert env.database_from_url(NAME, "postgres:///db?host=/run/pg")["HOST"] == "/run/pg"

    @pytest.mark.parametrize(
        "url", ["mysql://x/y", "nonsense", "", "postgresql://h:port/x", "postgresql://h:99999/x", "sqlite://"]
    )
    def test_others_name_the_variable_and_not_the_password(self, url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match=NAME):
            env.database_from_url(NAME, url)

    def test_a_password_is_in_no_message(self) -> None:
        with pytest.raises(ImproperlyConfigured) as refused:
            env.database_from_url(NAME, "postgresql://user:hunter2@host:port/x")
        assert "hunter2" not in str(refused.value)


def _start(settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh process that loads the settings, as every process of the panel does first."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("COI_", "DJANGO_"))}
    return subprocess.run(
        [sys.executable, "-c", "import django; django.setup(); print('started')"],
        env={**keep, "DJANGO_SETTINGS_MODULE": f"coi_web.settings.{settings}", **environment},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )


PRODUCTION = {
    "COI_SECRET_KEY": "s" * 60,
    "COI_AUDIT_KEY": "a" * 60,
    "COI_REDIS_URL": "redis://127.0.0.1:1/0",
    "COI_PUBLIC_URL": "https://panel.example",
    "COI_DATABASE_URL": "postgresql://coi@127.0.0.1:1/coi",
}


class TestStart:
    def test_production_starts_with_what_it_needs(self) -> None:
        done = _start("production", **PRODUCTION)
        assert done.stdout == "started\n", done.stderr

    @pytest.mark.parametrize("name", PRODUCTION)
    def test_production_names_what_is_missing(self, name: str) -> None:
        done = _start("production", **{key: value for key, value in PRODUCTION.items() if key != name})
        assert done.returncode != 0
        assert name in done.stderr.splitlines()[-1]

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("COI_INCUS_TIMEOUT_S", "soon"),
            ("COI_MAX_SESSIONS_PER_USER", "0"),
            ("COI_LOG_LEVEL", "loud"),
            ("COI_BEHIND_TLS_PROXY", "perhaps"),
            ("COI_SECRET_KEY_FILE", "/does/not/exist"),
            ("COI_PUBLIC_URL", "http://panel.example"),
        ],
    )
    def test_a_bad_value_stops_the_start_with_its_name(self, name: str, value: str) -> None:
        environment = {**PRODUCTION, name: value}
        if name == "COI_SECRET_KEY_FILE":
            del environment["COI_SECRET_KEY"]
        done = _start("production", **environment)
        assert done.returncode != 0
        assert name in done.stderr.splitlines()[-1]

    def test_embedded_needs_its_two_keys_only(self, tmp_path: Path) -> None:
        keys = {"COI_SECRET_KEY": "s" * 60, "COI_AUDIT_KEY": "a" * 60, "COI_DATA_DIR": str(tmp_path)}
        assert _start("embedded", **keys).stdout == "started\n"
        assert "COI_AUDIT_KEY" in _start("embedded", COI_SECRET_KEY="s" * 60).stderr
