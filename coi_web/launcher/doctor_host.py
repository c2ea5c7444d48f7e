"""Checks of the machine itself."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from coi_web.launcher.apt import main_archive, read_release, read_sources
from coi_web.launcher.finding import Finding, fail, warn, well
from coi_web.launcher.host import find_program, has_systemd
from coi_web.launcher.panel import Panel
from coi_web.launcher.paths import ROOT
from coi_web.launcher.sizes import GIB, show_size

_LEAST_KERNEL = (5, 15)
_MEMORY_WARN = 2 * GIB


def operating_system(panel: Panel) -> Iterator[Finding]:
    release = read_release()
    if release.supported:
        yield well("operating-system", release.title)
    else:
        yield warn(
            "operating-system",
            f"{release.title} is not one that coi-web installs Incus on.",
            "Install Incus by its own instructions; the rest works.",
        )
    kernel = os.uname().release
    numbers = tuple(int(part) for part in kernel.split("-")[0].split(".")[:2] if part.isdigit())
    if numbers >= _LEAST_KERNEL:
        yield well("kernel", kernel)
    else:
        yield warn("kernel", f"Linux {kernel} is older than 5.15.", "Upgrade the kernel.")


def python(panel: Panel) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    stamp = ROOT / ".venv" / "requirements.sha256"
    lock = (ROOT / "requirements" / "base.txt").read_bytes()
    if stamp.is_file() and stamp.read_text().strip() == hashlib.sha256(lock).hexdigest():
        yield well("python", f"{version}, packages as locked")
    else:
        yield warn(
            "python",
            f"{version}; the packages in .venv are not those of the lock.",
            "./coi-web status (any command installs them)",
        )


def privileges(panel: Panel) -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield well("privileges", "root")
    elif find_program("sudo") is not None:
        yield well("privileges", "not root; sudo is there for installing")
    else:
        yield warn("privileges", "Not root, and no sudo.", "Install missing packages as root.")


def service_manager(panel: Panel) -> Iterator[Finding]:
    if has_systemd():
        yield well("service-manager", "systemd")
    else:
        yield well("service-manager", "no systemd: coi-web starts Incus itself, and again after a crash")


def apt_sources(panel: Panel) -> Iterator[Finding]:
    release = read_release()
    archive = main_archive(read_sources(), release)
    if archive is not None:
        yield well("apt-sources", f"{archive.mirror} {archive.suite}{' (dated)' if archive.dated else ''}")
    else:
        yield warn(
            "apt-sources",
            f"The apt sources name no archive of {release.title}: the starter image cannot be built.",
            "Add the distribution's own source below /etc/apt/sources.list.d.",
        )


def memory(panel: Panel) -> Iterator[Finding]:
    values = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        key, _, rest = line.partition(":")
        values[key] = int(rest.split()[0]) * 1024
    free = values.get("MemAvailable", 0)
    if free >= _MEMORY_WARN:
        yield well("memory", f"{show_size(free)} available")
    else:
        yield warn(
            "memory", f"Only {show_size(free)} of memory are available.", "Stop some sessions, or add memory."
        )


def disk(panel: Panel) -> Iterator[Finding]:
    places = {"data-disk": panel.data.path, "engine-disk": Path("/var/lib/incus")}
    for code, wanted in places.items():
        place = next((one for one in (wanted, *wanted.parents) if one.is_dir()), Path("/"))
        free = shutil.disk_usage(place).free
        text = f"{show_size(free)} free below {wanted}"
        if free < 1 * GIB:
            yield fail(code, f"Only {text}.", "Free some space: old images and snapshots are a good start.")
        elif free < 5 * GIB:
            yield warn(code, f"Only {text}.", "Free some space before it is full.")
        else:
            yield well(code, text)


def forwarding(panel: Panel) -> Iterator[Finding]:
    """Containers reach the network through the host: forwarding must be on and not be dropped."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    if switch.read_text().strip() == "1":
        yield well("ip-forward", "IPv4 forwarding is on")
    else:
        yield warn(
            "ip-forward",
            "IPv4 forwarding is off: containers have no network.",
            "sysctl -w net.ipv4.ip_forward=1 (Incus does it when it makes a network)",
        )
    iptables = find_program("iptables")
    if find_program("dockerd") is None or iptables is None or os.geteuid() != 0:
        return
    policy = subprocess.run(
        [iptables, "-S", "FORWARD"], capture_output=True, text=True, timeout=10, check=False
    )
    if "-P FORWARD DROP" in policy.stdout:
        yield warn(
            "docker-forward",
            "Docker drops forwarded packets: containers of Incus may have no network.",
            "iptables -I DOCKER-USER -i coiweb0 -j ACCEPT; iptables -I DOCKER-USER -o coiweb0 -j ACCEPT",
        )


CHECKS = (operating_system, python, privileges, service_manager, apt_sources, memory, disk, forwarding)
