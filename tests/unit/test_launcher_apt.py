"""What the launcher reads out of a machine's apt sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from coi_web.launcher.apt import (
    Release,
    backports_source,
    main_archive,
    names_suite,
    parse_deb822,
    parse_list,
    read_release,
    read_sources,
    related_suites,
)

BOOKWORM = Release("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")
NOBLE = Release("ubuntu", "24.04", "noble", "Ubuntu 24.04 LTS")

DEB822 = """\
Types: deb
# http://dated.test/archive/debian/20250520T000000Z
URIs: http://mirror.test/debian/
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.test/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
Enabled: no
URIs: http://other.test/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://source.test/debian
Suites: bookworm
Components: main
"""


def test_deb822_names_the_archive_and_its_updates() -> None:
    sources = parse_deb822(DEB822)
    archive = main_archive(sources, BOOKWORM)
    assert archive is not None
    assert archive.mirror == "http://mirror.test/debian"
    assert archive.components == ("main", "contrib")
    assert archive.source.signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert not archive.dated
    assert [(uri, suite) for uri, suite, _ in related_suites(sources, BOOKWORM)] == [
        ("http://mirror.test/debian", "bookworm-updates"),
        ("http://mirror.test/debian-security", "bookworm-security"),
    ]


def test_disabled_and_source_entries_do_not_count() -> None:
    uris = [uri for source in parse_deb822(DEB822) for uri in source.uris]
    assert "http://other.test/debian" not in uris
    assert "http://source.test/debian" not in uris


def test_one_line_style_with_options() -> None:
    sources = parse_list(
        "# deb http://comment.test/debian bookworm main\n"
        "deb [arch=amd64 trusted=yes] http://mirror.test/debian bookworm main non-free # why\n"
        "deb-src http://mirror.test/debian bookworm main\n"
        "deb\n"
    )
    archive = main_archive(sources, BOOKWORM)
    assert len(sources) == 1
    assert archive is not None
    assert archive.mirror == "http://mirror.test/debian"
    assert archive.components == ("main", "non-free")
    assert archive.source.trusted
    assert archive.source.options["arch"] == "amd64"


def test_ubuntu_main_archive() -> None:
    sources = parse_deb822(
        "Types: deb\nURIs: http://archive.test/ubuntu/\nSuites: noble noble-updates noble-backports\n"
        "Components: main universe restricted\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
    )
    archive = main_archive(sources, NOBLE)
    assert archive is not None
    assert archive.suite == "noble"
    assert not NOBLE.needs_backports
    assert NOBLE.supported


def test_backports_come_from_the_same_address_with_the_same_key() -> None:
    archive = main_archive(parse_deb822(DEB822), BOOKWORM)
    assert archive is not None
    (made,) = parse_deb822(backports_source(archive))
    assert made.uris == ("http://mirror.test/debian",)
    assert made.suites == ("bookworm-backports",)
    assert made.signed_by == "/usr/share/keyrings/debian-archive-keyring.gpg"


def test_backports_keep_a_key_that_is_written_into_the_source() -> None:
    text = (
        "Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\nComponents: main\nSigned-By:\n"
        " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcdef\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    archive = main_archive(parse_deb822(text), BOOKWORM)
    assert archive is not None
    (made,) = parse_deb822(backports_source(archive))
    assert "BEGIN PGP" in made.embedded_key
    assert made.embedded_key.split() == archive.source.embedded_key.split()


@pytest.mark.parametrize(
    ("uri", "dated"),
    [
        ("http://mirror.test/archive/debian/20250520T000000Z", True),
        ("http://mirror.test/snapshot/20250520/debian", True),
        ("http://mirror.test/debian", False),
        ("http://mirror.test/debian-2025", False),
    ],
)
def test_a_snapshot_is_told_by_its_address(uri: str, dated: bool) -> None:
    archive = main_archive(parse_list(f"deb {uri} bookworm main\n"), BOOKWORM)
    assert archive is not None
    assert archive.dated is dated


def test_a_snapshot_is_told_by_its_option() -> None:
    source = "deb [check-valid-until=no] http://mirror.test/debian bookworm main\n"
    archive = main_archive(parse_list(source), BOOKWORM)
    assert archive is not None
    assert archive.dated
    assert "Check-Valid-Until: no" in backports_source(archive)


def test_nothing_usable_is_none() -> None:
    assert main_archive(parse_list("deb cdrom:[Debian]/ bookworm main\n"), BOOKWORM) is None
    assert main_archive(parse_list("deb http://mirror.test/debian trixie main\n"), BOOKWORM) is None
    assert main_archive([], BOOKWORM) is None


def test_reads_both_kinds_of_files_and_leaves_others_alone(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.test/debian bookworm main\n")
    (parts / "b.sources").write_text(DEB822)
    (parts / "c.list").write_text("deb http://third.test/debian bookworm-backports main\n")
    (parts / "d.list.disabled").write_text("deb http://off.test/debian bookworm main\n")
    sources = read_sources(tmp_path)
    assert [source.uris[0] for source in sources] == [
        "http://first.test/debian",
        "http://mirror.test/debian/",
        "http://mirror.test/debian-security",
        "http://third.test/debian",
    ]
    assert names_suite(sources, "bookworm-backports")
    assert read_sources(tmp_path / "missing") == []


def test_release_file(tmp_path: Path) -> None:
    file = tmp_path / "os-release"
    file.write_text(
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\nVERSION_CODENAME=bookworm\n'
    )
    assert read_release(file) == BOOKWORM
    assert BOOKWORM.needs_backports
    assert not read_release(tmp_path / "missing").supported
