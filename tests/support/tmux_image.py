"""The tiny image with the machine's own tmux in it: what reattaching needs, without a whole Debian."""

from __future__ import annotations

import gzip
import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from coi_web.incus import tiny_image
from coi_web.incus.api import IncusApi

_TERMINFO = ("/lib/terminfo", "/usr/share/terminfo", "/etc/terminfo")
_TERMINALS = ("xterm-256color", "xterm", "tmux-256color", "screen-256color", "screen")


def ensure_tmux_image(api: IncusApi, alias: str) -> None:
    """Import it under ``alias``, which moves there from an image without tmux."""
    with tempfile.TemporaryDirectory(prefix="coi-web-image-") as folder:
        plain, full = Path(folder) / "plain.tar.gz", Path(folder) / "tmux.tar.gz"
        tiny_image.build(plain)
        content = io.BytesIO(gzip.decompress(plain.read_bytes()))
        with tarfile.open(fileobj=content, mode="a", format=tarfile.GNU_FORMAT) as tar:
            for path in _needed_files():
                tar.add(path.resolve(), f"rootfs{path}", filter=_plain_owner)
        full.write_bytes(gzip.compress(content.getvalue(), compresslevel=3, mtime=0))
        api.import_image(full, alias)


def _needed_files() -> list[Path]:
    tmux = shutil.which("tmux")
    assert tmux, "the package tmux is missing: ./coi-web test --yes installs it"
    listed = subprocess.run(["ldd", tmux], capture_output=True, text=True, check=True, timeout=10).stdout
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    terminfo = [
        Path(folder) / name[0] / name
        for name in _TERMINALS
        for folder in _TERMINFO
        if (Path(folder) / name[0] / name).exists()
    ]
    locale = [path for path in Path("/usr/lib/locale/C.utf8").rglob("*") if path.is_file()]
    return [Path("/usr/bin/tmux"), *map(Path, libraries), *terminfo, *locale]


def _plain_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
