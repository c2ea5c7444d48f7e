"""Builds the starter image ``coi-default``: the distribution of the host, made ready for coding agents.

Runs as root, by itself (``python -m coi_web.launcher.starter_image …``), so that a person who started the
launcher without root rights lends them to this step only.  Nothing is downloaded but packages, from
the mirror that the machine's own apt sources name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coi_web.launcher.image_files import write_files

PREFIX = "coi-web-image-"
#: Not below the data folder, which may lie on a file system that takes no device nodes.
WORK_FOLDER = Path("/var/tmp")  # noqa: S108
#: What a session needs on top of a minimal system.  ``udev`` is not for devices: without it
#: systemd-networkd leaves ``eth0`` pending and the container has no address.
PACKAGES = (
    "systemd-sysv",
    "dbus",
    "udev",
    "systemd-resolved",
    "libnss-resolve",
    "sudo",
    "tmux",
    "git",
    "curl",
    "python3",
    "less",
    "procps",
    "psmisc",
    "iproute2",
    "iputils-ping",
    "netcat-openbsd",
    "ca-certificates",
    "openssh-client",
    "vim-tiny",
    "nano",
    "bash-completion",
    "unzip",
    "xz-utils",
)
#: Units that cannot do anything useful in a container and would only delay its start or make it "degraded".
_MASKED_UNITS = ("systemd-networkd-wait-online.service", "systemd-modules-load.service", "apt-daily.timer",
                 "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer")  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to build; ``apt_lines`` are one-line-style sources for the finished image."""

    distribution: str
    suite: str
    mirror: str
    components: tuple[str, ...]
    keyring: str
    trusted: bool
    dated: bool
    apt_lines: tuple[str, ...]


def build(recipe: Recipe, output: Path, cache: Path | None) -> None:
    """Writes the image as one tarball; temporary files are removed whatever happens.

    Raises CalledProcessError where a command fails; its output has gone to our own.
    """
    _sweep()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=WORK_FOLDER) as folder:
        root = Path(folder) / "rootfs"
        root.mkdir()
        _debootstrap(recipe, root, cache)
        print("Configuring the image", flush=True)
        _configure(recipe, root)
        _write_metadata(recipe, Path(folder))
        print("Packing the image", flush=True)
        _pack(Path(folder), output)
    _hand_over(output, cache)


def _sweep() -> None:
    """Removes what builds of ours left behind that were killed."""
    for leftover in WORK_FOLDER.glob(f"{PREFIX}*"):
        owner = leftover.name.removeprefix(PREFIX).split("-")[0]
        found = leftover.lstat()
        # Anybody may put a folder there; nobody's but our own is walked through as root.
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            continue
        if owner.isdigit() and not Path("/proc", owner).exists():
            _unmount(leftover / "rootfs")
            shutil.rmtree(leftover, ignore_errors=True)


def _hand_over(output: Path, cache: Path | None) -> None:
    """Gives the results to the person who lent us root rights through sudo."""
    owner = os.environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or not owner.isdigit():
        return
    for path in (output, *([cache, *cache.iterdir()] if cache is not None else [])):
        os.chown(path, int(owner), -1, follow_symlinks=False)


def _unmount(root: Path) -> None:
    for place in ("proc", "sys", "dev/pts", "dev"):
        if os.path.ismount(root / place):
            subprocess.run(["umount", "-l", str(root / place)], check=False)


def _debootstrap(recipe: Recipe, root: Path, cache: Path | None) -> None:
    command = [
        "debootstrap",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--components={','.join(recipe.components)}",
    ]
    if recipe.trusted:
        command.append("--no-check-gpg")
    elif recipe.keyring:
        command.append(f"--keyring={recipe.keyring}")
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        command.append(f"--cache-dir={cache}")
    environment = dict(os.environ)
    marker = Path("/run/systemd/container")
    if marker.is_file():
        # In a container debootstrap must not make device nodes, and knows by this variable, which sudo drops.
        environment.setdefault("container", marker.read_text().strip())
    subprocess.run(
        [*command, recipe.suite, str(root), recipe.mirror],
        check=True,
        stdin=subprocess.DEVNULL,
        env=environment,
    )


def _chroot(root: Path, *command: str) -> None:
    environment = {"PATH": _PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["chroot", str(root), *command], check=True, stdin=subprocess.DEVNULL, env=environment)


def _configure(recipe: Recipe, root: Path) -> None:
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
    try:
        _chroot(
            root, "useradd", "--uid", "1000", "--user-group", "--create-home", "--shell", "/bin/bash", "code"
        )
        _chroot(root, "systemctl", "enable", "systemd-networkd.service", "systemd-resolved.service")
        _chroot(root, "systemctl", "mask", *_MASKED_UNITS)
        _chroot(root, "systemctl", "set-default", "multi-user.target")
        _chroot(root, "apt-get", "clean")
    finally:
        _unmount(root)
    write_files(root, recipe.apt_lines, dated=recipe.dated)
    for folder in ("var/lib/apt/lists", "var/cache/apt", "tmp", "var/tmp"):
        for entry in (root / folder).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _write_metadata(recipe: Recipe, folder: Path) -> None:
    templates = folder / "templates"
    templates.mkdir()
    (templates / "hostname.tpl").write_text("{{ container.name }}\n")
    (templates / "hosts.tpl").write_text(
        "127.0.0.1\tlocalhost\n127.0.1.1\t{{ container.name }}\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    )
    now = int(time.time())
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    rule = {"when": ["create", "copy"], "create_only": False, "properties": {}}
    metadata = {
        "architecture": os.uname().machine,
        "creation_date": now,
        "properties": {
            "os": recipe.distribution,
            "release": recipe.suite,
            "architecture": os.uname().machine,
            "serial": stamp,
            "description": f"{recipe.distribution.title()} {recipe.suite} for sessions ({stamp})",
            "coi_web.built": stamp,
        },
        "templates": {
            "/etc/hostname": {**rule, "template": "hostname.tpl"},
            "/etc/hosts": {**rule, "template": "hosts.tpl"},
        },
    }
    # YAML is a superset of JSON, and JSON needs no library.
    (folder / "metadata.yaml").write_text(json.dumps(metadata, indent=1) + "\n")


def _pack(folder: Path, output: Path) -> None:
    program = "zstd -T0 -6" if shutil.which("zstd") else "gzip -1"
    partial = output.with_name(f"{output.name}.partial")
    command = ["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-I", program, "-cf", str(partial)]
    subprocess.run(
        [*command, "-C", str(folder), "metadata.yaml", "templates", "rootfs"],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    partial.chmod(0o644)
    partial.replace(output)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="coi_web.launcher.starter_image", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="tarball to write")
    parser.add_argument("--cache", type=Path, help="keeps downloaded packages for the next build")
    parser.add_argument("--recipe", required=True, help="JSON of the recipe")
    options = parser.parse_args(arguments)
    # An exception, so that mounts and temporary files go.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))
    fields = json.loads(options.recipe)
    recipe = Recipe(
        **{**fields, "components": tuple(fields["components"]), "apt_lines": tuple(fields["apt_lines"])}
    )
    try:
        build(recipe, options.output, options.cache)
    except subprocess.CalledProcessError as error:
        print(f"{error.cmd[0]} ended with code {error.returncode}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
