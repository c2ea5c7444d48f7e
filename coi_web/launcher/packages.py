"""Which packages of the distribution are wanted, which are missing, and installing them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from coi_web.launcher.apt import (
    Release,
    backports_source,
    main_archive,
    names_suite,
    read_release,
    read_sources,
)
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host, find_program, has_systemd

INCUS = ("incus-base", "incus-client")
#: What Incus needs for bridges, btrfs pools, user mappings and images, and what builds the starter image.
SUPPORT = (
    "dnsmasq-base",
    "btrfs-progs",
    "nftables",
    "iproute2",
    "uidmap",
    "squashfs-tools",
    "debootstrap",
    "busybox-static",
    "zstd",
    "xz-utils",
)
#: For ``./coi-web test`` only.
TESTING = ("chromium", "redis-server", "postgresql", "tmux")
#: Chromium is a snap on Ubuntu, which a container or a machine without systemd cannot run.
_UBUNTU_NAMES = {"chromium": "chromium-browser"}
_BACKPORTS_FILE = "/etc/apt/sources.list.d/coi-web-backports.sources"
_QUIET = {"DEBIAN_FRONTEND": "noninteractive"}


def missing(names: Sequence[str]) -> list[str]:
    """Those of the packages that are not installed.  Raises LauncherError where this is no Debian."""
    if find_program("dpkg-query") is None:
        raise LauncherError(
            "not-debian",
            "This system has no dpkg, so packages cannot be installed from here.",
            mend=[
                "Use Debian 12 or 13 or Ubuntu 24.04, or install Incus yourself and run ./coi-web up again."
            ],
        )
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev}\n", *names],
        capture_output=True,
        text=True,
        check=False,
    )
    installed = {line.split()[0] for line in done.stdout.splitlines() if line.split()[1:2] == ["ii"]}
    return [name for name in names if name not in installed]


def install(host: Host, names: Sequence[str], *, reason: str, code: str) -> None:
    """Installs packages from the suites that the machine's sources name; nothing where none is missing."""
    wanted = missing(names)
    if not wanted:
        return
    host.change(
        [["apt-get", "update"], _install_command(wanted)],
        title=f"Installing {_listed(wanted)}",
        code=code,
        reason=reason,
        environment=_QUIET,
    )


def install_incus(host: Host) -> None:
    """Installs Incus and what it needs from the distribution's own suites; on Debian 12 from backports.

    Raises LauncherError on another system, and where the machine's sources do not name its own archive.
    """
    release = read_release()
    if not release.supported:
        raise LauncherError(
            "unsupported-system",
            f"Incus is not installed, and on {release.title} coi-web does not know how to install it.",
            mend=[
                "Install Incus 6 or newer by its own instructions, then run ./coi-web up again.",
                "Debian 12, Debian 13 and Ubuntu 24.04 are installed for you.",
            ],
        )
    # Shows containers their own memory and CPU limits; its unit is what runs it.
    helper = ("lxcfs",) if has_systemd() else ()
    wanted = missing([*INCUS, *SUPPORT, *helper])
    if not wanted:
        return
    files: dict[str, str] = {}
    commands: list[list[str]] = [["apt-get", "update"]]
    rest = [name for name in wanted if name not in INCUS]
    engine = [name for name in wanted if name in INCUS]
    if rest:
        commands.append(_install_command(rest))
    if engine and release.needs_backports:
        suite = f"{release.codename}-backports"
        files = _backports_file(release, suite)
        commands.append(_install_command(engine, suite=suite))
    elif engine:
        commands.append(_install_command(engine))
    host.change(
        commands,
        title="Installing Incus" if engine else f"Installing {_listed(rest)}",
        code="incus-missing" if engine else "packages-missing",
        reason=f"{'Incus is' if engine else _listed(rest) + ' is'} not installed on this machine.",
        environment=_QUIET,
        files=files,
    )


def _backports_file(release: Release, suite: str) -> dict[str, str]:
    sources = read_sources()
    if names_suite(sources, suite):
        return {}
    archive = main_archive(sources, release)
    if archive is None:
        raise LauncherError(
            "apt-sources",
            f"The apt sources of this machine name no address for {release.codename} main.",
            mend=[f"Add a source for {release.codename} and {suite}, then run ./coi-web up again."],
        )
    return {_BACKPORTS_FILE: backports_source(archive)}


def _install_command(names: Sequence[str], *, suite: str | None = None) -> list[str]:
    target = ["-t", suite] if suite else []
    return ["apt-get", "install", "-y", "--no-install-recommends", *target, *names]


def _listed(names: Sequence[str]) -> str:
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names)


def testing_packages() -> list[str]:
    """What the test suite needs of the host, by the names this distribution uses."""
    names = _UBUNTU_NAMES if read_release().identity == "ubuntu" else {}
    return [names.get(name, name) for name in TESTING]
