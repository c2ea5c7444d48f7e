"""What the machine's own apt sources say: which mirror, which suites, signed by which key.

Nothing here names a mirror.  Packages, backports and the starter image come from the address that the
machine already trusts, which may be a company mirror or a dated snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Releases on which Incus is known to come from the distribution's own suites.
SUPPORTED_RELEASES = {
    ("debian", "12"): "Debian 12",
    ("debian", "13"): "Debian 13",
    ("ubuntu", "24.04"): "Ubuntu 24.04",
}
_DATED_ADDRESS = re.compile(r"/\d{8}T\d{6}Z?(/|$)|/20\d{6}(/|$)")
_FETCHABLE = ("http://", "https://", "file:", "copy:")


@dataclass(frozen=True, slots=True)
class Release:
    """The machine's distribution, from ``/etc/os-release``."""

    identity: str
    version: str
    codename: str
    title: str

    @property
    def supported(self) -> bool:
        return (self.identity, self.version) in SUPPORTED_RELEASES

    @property
    def needs_backports(self) -> bool:
        """Debian 12 carries Incus in its backports suite only."""
        return (self.identity, self.version) == ("debian", "12")


@dataclass(frozen=True, slots=True)
class AptSource:
    """One enabled binary (``deb``) source; option names are in lower case."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    #: An armoured key written into the source itself instead of a path.
    embedded_key: str = ""

    @property
    def trusted(self) -> bool:
        return self.options.get("trusted", "").lower() in ("yes", "true", "1")

    @property
    def signed_by(self) -> str:
        return self.options.get("signed-by", "")


@dataclass(frozen=True, slots=True)
class Archive:
    """The distribution's main archive as this machine reaches it."""

    mirror: str
    suite: str
    components: tuple[str, ...]
    source: AptSource

    @property
    def dated(self) -> bool:
        """A snapshot: its index files are older than they say they may be."""
        option = self.source.options.get("check-valid-until", "").lower()
        return bool(_DATED_ADDRESS.search(self.mirror)) or option in ("no", "false", "0")


def read_release(path: Path = Path("/etc/os-release")) -> Release:
    """The running distribution; fields are empty where the file does not say them."""
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        text = ""
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator:
            values[key.strip()] = value.strip().strip("\"'")
    return Release(
        identity=values.get("ID", ""),
        version=values.get("VERSION_ID", ""),
        codename=values.get("VERSION_CODENAME", ""),
        title=values.get("PRETTY_NAME", "an unknown system"),
    )


def parse_deb822(text: str) -> list[AptSource]:
    """The enabled ``deb`` entries of a ``.sources`` file."""
    sources: list[AptSource] = []
    for stanza in re.split(r"\n[ \t]*\n", _without_comments(text)):
        fields = _deb822_fields(stanza)
        if fields.get("enabled", "yes").lower() in ("no", "false", "0"):
            continue
        if "deb" not in fields.get("types", "").split():
            continue
        options = {
            key: value
            for key, value in fields.items()
            if key not in ("types", "uris", "suites", "components", "enabled")
        }
        embedded = ""
        if "BEGIN PGP" in options.get("signed-by", ""):
            embedded = options.pop("signed-by")
        sources.append(
            AptSource(
                uris=tuple(fields.get("uris", "").split()),
                suites=tuple(fields.get("suites", "").split()),
                components=tuple(fields.get("components", "").split()),
                options=options,
                embedded_key=embedded,
            )
        )
    return [source for source in sources if source.uris and source.suites]


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def _deb822_fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    current = ""
    for line in stanza.splitlines():
        if line[:1] in (" ", "\t") and current:
            fields[current] += "\n" + line.strip()
            continue
        key, separator, value = line.partition(":")
        if separator:
            current = key.strip().lower()
            fields[current] = value.strip()
    return fields


def parse_list(text: str) -> list[AptSource]:
    """The ``deb`` lines of a one-line-style ``.list`` file."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[(?P<options>[^\]]*)\]\s*)?(?P<rest>[^#]+)", line)
        if match is None:
            continue
        words = match["rest"].split()
        if len(words) < 2:
            continue
        options = {}
        for option in (match["options"] or "").split():
            key, _, value = option.partition("=")
            options[key.lower()] = value
        sources.append(
            AptSource(uris=(words[0],), suites=(words[1],), components=tuple(words[2:]), options=options)
        )
    return sources


def read_sources(folder: Path = Path("/etc/apt")) -> list[AptSource]:
    """All enabled sources of the machine, in apt's order; unreadable files are left out."""
    files = [folder / "sources.list"]
    parts = folder / "sources.list.d"
    if parts.is_dir():
        files += sorted(entry for entry in parts.iterdir() if entry.suffix in (".list", ".sources"))
    sources: list[AptSource] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        sources += parse_deb822(text) if file.suffix == ".sources" else parse_list(text)
    return sources


def main_archive(sources: Iterable[AptSource], release: Release) -> Archive | None:
    """The source that carries the release's base suite with ``main``, or None where the machine names none."""
    for source in sources:
        if release.codename not in source.suites or "main" not in source.components:
            continue
        for uri in source.uris:
            if uri.startswith(_FETCHABLE):
                return Archive(uri.rstrip("/"), release.codename, source.components, source)
    return None


def names_suite(sources: Iterable[AptSource], suite: str) -> bool:
    return any(suite in source.suites for source in sources)


def related_suites(sources: Iterable[AptSource], release: Release) -> list[tuple[str, str, tuple[str, ...]]]:
    """Address, suite and components of the release's own update and security suites, as the machine has them."""
    wanted = {f"{release.codename}-updates", f"{release.codename}-security"}
    found: list[tuple[str, str, tuple[str, ...]]] = []
    for source in sources:
        for uri in source.uris:
            for suite in source.suites:
                if suite in wanted and uri.startswith(("http://", "https://")):
                    found.append((uri.rstrip("/"), suite, source.components))
    return found


def backports_source(archive: Archive) -> str:
    """A ``.sources`` stanza for the backports suite at the archive's own address, with its key and options."""
    lines = [
        "# Written by coi-web: Incus for Debian 12 comes from the backports suite.",
        "Types: deb",
        f"URIs: {archive.mirror}",
        f"Suites: {archive.suite}-backports",
        "Components: main",
    ]
    for key, value in archive.source.options.items():
        if key in ("signed-by", "trusted", "check-valid-until", "architectures"):
            lines.append(f"{key.title()}: {value}")
        elif key == "arch":
            lines.append(f"Architectures: {value.replace(',', ' ')}")
    if archive.source.embedded_key:
        indented = "\n ".join(archive.source.embedded_key.splitlines())
        lines.append(f"Signed-By:\n {indented.strip()}")
    return "\n".join(lines) + "\n"
