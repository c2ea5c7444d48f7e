"""Kinds of operations; the apps above register theirs in ``AppConfig.ready``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coi_web.errors import CoiError

if TYPE_CHECKING:
    from coi_web.operations.models import Operation
    from coi_web.operations.runner import OperationContext


@dataclass(frozen=True, slots=True)
class Handler:
    """``run`` does the work in steps that may be repeated after a crash, outside any transaction.

    ``settle`` writes what the outcome means for the target (and its audit event) in the transaction that
    ends the operation, whatever the end is; it must not talk to the engine.
    ``title`` completes a sentence: "Start {target}".
    """

    kind: str
    title: str
    run: Callable[[OperationContext], dict[str, Any]]
    settle: Callable[[Operation], None]


_handlers: dict[str, Handler] = {}


def register_handler(
    kind: str,
    *,
    title: str,
    run: Callable[[OperationContext], dict[str, Any]],
    settle: Callable[[Operation], None] = lambda operation: None,
) -> None:
    _handlers[kind] = Handler(kind, title, run, settle)


def handler_for(kind: str) -> Handler:
    """Raises KeyError for a kind that nobody registered."""
    return _handlers[kind]


def handler_of_row(kind: str) -> Handler:
    """As ``handler_for``; a row of a kind that another version of the panel knew fails when it is run."""
    return _handlers.get(kind) or Handler(kind, f"{kind} {{target}}", _refuse, lambda operation: None)


def _refuse(context: OperationContext) -> dict[str, Any]:
    raise CoiError(
        "This version of the panel does not know this kind of work. Ask for it again.", code="unknown-kind"
    )


def title_of(kind: str, target: str) -> str:
    handler = _handlers.get(kind)
    return handler.title.replace("{target}", target) if handler else f"{kind} {target}"
