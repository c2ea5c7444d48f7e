"""A container image of about 1 MB, made from the machine's own static busybox in a fraction of a second.

It boots busybox' init, asks for an address on ``eth0`` and has the user ``code`` (uid 1000) and
``/workspace``: enough for tests and for a first look at the panel on a machine without an image server.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import platform
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coi_web.errors import IncusNotFound, InvalidInput

if TYPE_CHECKING:
    from coi_web.incus.api import IncusApi
    from coi_web.incus.types import ImageInfo

DEFAULT_ALIAS = "coi-tiny"
#: Counts up with every change of the content, so that an older image gives way.
RECIPE = "1"
RECIPE_PROPERTY = "coi_web.recipe"
CODE_UID = 1000

#: 2026-01-01; the same input gives the same image.
_DATE = 1767225600
_BUSYBOX_PLACES = ("/bin/busybox", "/usr/bin/busybox")

_FILES: dict[str, tuple[int, str]] = {
    "etc/inittab": (
        0o644,
        """\
::sysinit:/etc/init.d/rcS
::ctrlaltdel:/sbin/poweroff
::restart:/sbin/init
""",
    ),
    "etc/init.d/rcS": (
        0o755,
        """\
#!/bin/sh
mkdir -p /run /var/run
hostname "$(cat /etc/hostname)" 2>/dev/null
ip link set lo up
if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    udhcpc -i eth0 -b -S -t 20 -T 1 -A 1 -s /usr/share/udhcpc/default.script >/dev/null 2>&1 &
fi
""",
    ),
    "usr/share/udhcpc/default.script": (
        0o755,
        """\
#!/bin/sh
case "$1" in
deconfig)
    ip addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound|renew)
    ip addr replace "$ip/${mask:-24}" dev "$interface"
    [ -n "$router" ] && ip route replace default via "${router%% *}" dev "$interface"
    : >/etc/resolv.conf
    for server in $dns; do echo "nameserver $server" >>/etc/resolv.conf; done
    ;;
esac
exit 0
""",
    ),
    "etc/passwd": (
        0o644,
        "root:x:0:0:root:/root:/bin/sh\n"
        f"code:x:{CODE_UID}:{CODE_UID}:code:/home/code:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    "etc/group": (0o644, f"root:x:0:\ncode:x:{CODE_UID}:\nnogroup:x:65534:\n"),
    "etc/profile": (
        0o644,
        "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n",
    ),
    "etc/os-release": (0o644, 'ID=coi-tiny\nNAME="COI tiny"\nPRETTY_NAME="COI tiny (busybox)"\n'),
    "etc/hostname": (0o644, "tiny\n"),
    "etc/hosts": (0o644, "127.0.0.1 localhost\n"),
    "etc/resolv.conf": (0o644, ""),
}

#: Path -> mode and owner.
_FOLDERS: dict[str, tuple[int, int]] = {
    "bin": (0o755, 0),
    "dev": (0o755, 0),
    "etc": (0o755, 0),
    "etc/init.d": (0o755, 0),
    "home": (0o755, 0),
    "home/code": (0o755, CODE_UID),
    "proc": (0o755, 0),
    "root": (0o700, 0),
    "run": (0o755, 0),
    "sbin": (0o755, 0),
    "sys": (0o755, 0),
    "tmp": (0o1777, 0),
    "usr": (0o755, 0),
    "usr/bin": (0o755, 0),
    "usr/sbin": (0o755, 0),
    "usr/share": (0o755, 0),
    "usr/share/udhcpc": (0o755, 0),
    "var": (0o755, 0),
    "workspace": (0o755, CODE_UID),
}


def ensure_tiny_image(api: IncusApi | None = None, alias: str = DEFAULT_ALIAS) -> ImageInfo:
    """Builds and imports the image unless ``alias`` names an up-to-date one. Safe to repeat.

    Without ``api`` it goes to the default project of this machine's own Incus.

    Raises Incus errors, and InvalidInput when the machine has no static busybox.
    """
    if api is None:
        # Here, so that building alone needs no library.
        from coi_web.incus.client import IncusClient
        from coi_web.incus.types import IncusConfig

        api = IncusClient(IncusConfig())
    try:
        present = api.image(alias)
    except IncusNotFound:
        pass
    else:
        if present.properties.get(RECIPE_PROPERTY) == RECIPE:
            return present
    with tempfile.TemporaryDirectory(prefix="coi-web-image-") as folder:
        tarball = Path(folder) / "tiny.tar.gz"
        build(tarball)
        return api.import_image(tarball, alias)


def build(target: Path, busybox: Path | None = None) -> str:
    """Writes the image tarball; returns its SHA-256. Raises InvalidInput without a static busybox."""
    program = busybox or find_busybox()
    applets = subprocess.run(
        [str(program), "--list-full"], capture_output=True, check=True, timeout=10, text=True
    ).stdout.split()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        _add_file(tar, "metadata.yaml", 0o644, _metadata().encode())
        _add_folder(tar, "rootfs", 0o755, 0)
        for path, (mode, owner) in _FOLDERS.items():
            _add_folder(tar, f"rootfs/{path}", mode, owner)
        _add_file(tar, "rootfs/bin/busybox", 0o755, program.read_bytes())
        for path, (mode, text) in _FILES.items():
            _add_file(tar, f"rootfs/{path}", mode, text.encode())
        for path in sorted({*applets, "sbin/init", "bin/sh"} - {"bin/busybox", "linuxrc"}):
            if str(Path(path).parent) in _FOLDERS:
                _add_link(tar, f"rootfs/{path}", "/bin/busybox")
    # Without a time or a name in its header, so that equal content is an equal image.
    data = gzip.compress(content.getvalue(), compresslevel=6, mtime=0)
    target.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def find_busybox() -> Path:
    """Raises InvalidInput with what to install."""
    places = [*_BUSYBOX_PLACES, shutil.which("busybox") or ""]
    for place in places:
        path = Path(place)
        if place and path.is_file() and is_static(path):
            return path.resolve()
    raise InvalidInput(
        "There is no static busybox on this machine. Install the package busybox-static, then try again.",
        code="no-static-busybox",
        log_detail=f"looked at {', '.join(filter(None, places))}",
    )


def is_static(program: Path) -> bool:
    """Whether an ELF file asks for no dynamic loader, which a container of ours would not have."""
    with program.open("rb") as source:
        header = source.read(64)
        if len(header) < 64 or header[:4] != b"\x7fELF":
            return False
        order = "<" if header[5] == 1 else ">"
        wide = header[4] == 2
        # e_phoff, e_phentsize and e_phnum; see elf(5).
        (offset,) = struct.unpack_from(order + ("Q" if wide else "I"), header, 32 if wide else 28)
        size, count = struct.unpack_from(order + "HH", header, 54 if wide else 42)
        source.seek(offset)
        table = source.read(size * count)
    interpreter = 3
    return all(
        struct.unpack_from(order + "I", table, index * size)[0] != interpreter for index in range(count)
    )


def _metadata() -> str:
    return (
        f"architecture: {platform.machine()}\n"
        f"creation_date: {_DATE}\n"
        "properties:\n"
        "  os: busybox\n"
        "  description: COI tiny (busybox)\n"
        f'  {RECIPE_PROPERTY}: "{RECIPE}"\n'
    )


def _entry(name: str, mode: int, owner: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.mode, entry.uid, entry.gid, entry.mtime = mode, owner, owner, _DATE
    return entry


def _add_folder(tar: tarfile.TarFile, name: str, mode: int, owner: int) -> None:
    entry = _entry(name, mode, owner)
    entry.type = tarfile.DIRTYPE
    tar.addfile(entry)


def _add_file(tar: tarfile.TarFile, name: str, mode: int, content: bytes) -> None:
    entry = _entry(name, mode, 0)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _add_link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = _entry(name, 0o777, 0)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)
