"""Database triggers that refuse UPDATE and DELETE on the audit log (SQLite and PostgreSQL)."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

_SQLITE = """CREATE TRIGGER coi_audit_no_{verb} BEFORE {VERB} ON coi_audit_auditevent
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END"""
_POSTGRESQL_FUNCTION = """CREATE OR REPLACE FUNCTION coi_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the audit log is append-only'; END $$"""
_POSTGRESQL = """CREATE TRIGGER coi_audit_no_{verb} BEFORE {VERB} ON coi_audit_auditevent
    FOR EACH ROW EXECUTE FUNCTION coi_audit_refuse()"""


def install_guards(connection: BaseDatabaseWrapper) -> None:
    """Safe to repeat: what is there is replaced."""
    remove_guards(connection)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRESQL_FUNCTION)
        template = _POSTGRESQL if connection.vendor == "postgresql" else _SQLITE
        for verb in ("update", "delete"):
            cursor.execute(template.format(verb=verb, VERB=verb.upper()))


def remove_guards(connection: BaseDatabaseWrapper) -> None:
    """For migrations that must change the table, and for tests that empty it.  Safe to repeat."""
    with connection.cursor() as cursor:
        for verb in ("update", "delete"):
            table = " ON coi_audit_auditevent" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER IF EXISTS coi_audit_no_{verb}{table}")
