from coi_web.audit.actions import register_action

_ACTIONS = {
    "workspace.create": "created the workspace {target}",
    "workspace.delete": "deleted the workspace {target}",
    "workspace.lost": "found the volume of {target} missing",
    "session.start": "started {target}",
    "session.start-again": "started {target} again",
    "session.stop": "stopped {target}",
    "session.end": "ended {target}",
    "session.kill": "killed {target}",
    "session.lost": "found the container {target} missing",
    "session.changed-outside": "found {target} changed outside the panel",
    "session.leftover-removed": "removed the leftover container {target}",
}


def register() -> None:
    for code, phrase in _ACTIONS.items():
        register_action(code, phrase)
