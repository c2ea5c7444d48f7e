"""The files that make a minimal system a session's home, as COI lays it out.

User ``code`` (uid 1000) with passwordless sudo; ``close``, ``stop``, ``poweroff``, ``halt``, ``reboot`` and
``shutdown`` typed inside end the session through a wrapper that leaves a marker file, so that the host
side can tell a wanted shutdown from a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

USER_ID = 1000
#: The marker's path is COI's convention: its host side looks for the same file.
SHUTDOWN_MARKER = "/run/coi-shutdown-requested"
SHUTDOWN_WORDS = ("close", "stop", "poweroff", "halt", "reboot", "shutdown")

_SHUTDOWN = f"""\
#!/bin/sh
# Ends this session: leaves word that the shutdown is wanted, then powers the container off.
# A reboot powers off too, as with COI: start the session again from the panel.
if [ "$(id -u)" != 0 ]; then
    exec sudo -n "$0" "$@"
fi
: > {SHUTDOWN_MARKER}
exec /usr/bin/systemctl --no-block poweroff
"""

_NETWORK = """\
[Match]
Name=eth0

[Network]
DHCP=ipv4
IPv6AcceptRA=no
LinkLocalAddressing=no

[DHCPv4]
UseHostname=no
"""

_TMUX = """\
# Defaults of the starter image; ~/.tmux.conf overrides them.
set -g default-terminal "tmux-256color"
set -ga terminal-overrides ",xterm-256color:Tc"
set -g history-limit 50000
set -s escape-time 10
set -g focus-events on
"""

_ENVIRONMENT = """\
LANG=C.UTF-8
PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""

_PROFILE = """\
# Programs that a person installs for themselves come first.
case ":$PATH:" in
    *":$HOME/.local/bin:"*) ;;
    *) PATH="$HOME/.local/bin:$PATH" ;;
esac
"""


def write_files(root: Path, apt_lines: Iterable[str], *, dated: bool) -> None:
    """Writes everything below ``root``; safe to repeat."""
    _write(root / "etc/apt/sources.list", "".join(f"{line}\n" for line in apt_lines))
    if dated:
        _write(root / "etc/apt/apt.conf.d/90dated-mirror", 'Acquire::Check-Valid-Until "false";\n')
    _write(root / "etc/apt/apt.conf.d/90small", 'APT::Install-Recommends "false";\n')
    _write(root / "etc/sudoers.d/code", "code ALL=(ALL:ALL) NOPASSWD: ALL\n", mode=0o440)
    _write(root / "etc/systemd/network/10-eth0.network", _NETWORK)
    _write(root / "etc/tmux.conf", _TMUX)
    _write(root / "etc/environment", _ENVIRONMENT)
    _write(root / "etc/default/locale", "LANG=C.UTF-8\n")
    _write(root / "etc/profile.d/local-bin.sh", _PROFILE)
    # Empty, not absent: every container makes its own identity at its first start.
    _write(root / "etc/machine-id", "")
    _write(root / "etc/hostname", "coi\n")
    resolv = root / "etc/resolv.conf"
    resolv.unlink(missing_ok=True)
    resolv.symlink_to("/run/systemd/resolve/stub-resolv.conf")
    for word in SHUTDOWN_WORDS:
        _write(root / "usr/local/bin" / word, _SHUTDOWN, mode=0o755)
    workspace = root / "workspace"
    workspace.mkdir(exist_ok=True)
    os.chown(workspace, USER_ID, USER_ID)


def _write(path: Path, text: str, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
