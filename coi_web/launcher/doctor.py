"""``./coi-web doctor``: looks at everything the panel stands on; changes nothing.

Exit codes are COI's: 0 healthy, 1 degraded (warnings), 2 unhealthy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from coi_web.launcher import doctor_host, doctor_incus, doctor_panel
from coi_web.launcher.finding import Finding, Level
from coi_web.launcher.output import Output
from coi_web.launcher.panel import Panel

_SIGNS = {Level.OK: " ok ", Level.WARN: "warn", Level.FAIL: "FAIL"}
_STATUS = ("healthy", "degraded", "unhealthy")
Check = Callable[[Panel], Iterable[Finding]]
CHECKS: tuple[Check, ...] = (*doctor_host.CHECKS, *doctor_incus.CHECKS, *doctor_panel.CHECKS)


def doctor(panel: Panel, output: Output, *, as_json: bool, checks: Iterable[Check] = CHECKS) -> int:
    """Prints every finding with its code; the exit code says how it is."""
    findings = [finding for check in checks for finding in examine(check, panel)]
    worst = max((_severity(finding.level) for finding in findings), default=0)
    if as_json:
        output.say(json.dumps(as_dict(findings, worst), indent=2))
        return worst
    for finding in findings:
        output.say(f"{_SIGNS[finding.level]}  {finding.code:<18} {finding.message}")
        for line in finding.mend:
            output.say(f"{'':<24} → {line}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    output.say(f"\n{counts[Level.OK]} well, {counts[Level.WARN]} to look at, {counts[Level.FAIL]} to mend")
    return worst


def examine(check: Check, panel: Panel) -> list[Finding]:
    """A check's findings; a check that itself breaks is a finding too."""
    try:
        return list(check(panel))
    except Exception as error:  # doctor must go on whatever a broken machine throws at it
        name = check.__name__.replace("_", "-")
        return [Finding(name, Level.WARN, f"could not be looked at: {type(error).__name__}: {error}")]


def as_dict(findings: Iterable[Finding], worst: int) -> dict[str, object]:
    """The JSON form; keys and words as in COI's ``health``."""
    words = {Level.OK: "ok", Level.WARN: "warning", Level.FAIL: "failed"}
    listed = list(findings)
    return {
        "status": _STATUS[worst],
        "checks": {
            one.code: {
                "name": one.code,
                "status": words[one.level],
                "message": one.message,
                "mend": list(one.mend),
            }
            for one in listed
        },
        "summary": {
            "total": len(listed),
            "passed": sum(one.level is Level.OK for one in listed),
            "warnings": sum(one.level is Level.WARN for one in listed),
            "failed": sum(one.level is Level.FAIL for one in listed),
        },
    }


def _severity(level: Level) -> int:
    return (Level.OK, Level.WARN, Level.FAIL).index(level)
