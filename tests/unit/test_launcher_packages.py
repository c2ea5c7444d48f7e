"""The exact commands that make a machine ready, per distribution."""

from __future__ import annotations

import io

import pytest

from coi_web.launcher import packages
from coi_web.launcher.apt import AptSource, Release
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host
from coi_web.launcher.output import Output

BOOKWORM = Release("debian", "12", "bookworm", "Debian GNU/Linux 12 (bookworm)")
TRIXIE = Release("debian", "13", "trixie", "Debian GNU/Linux 13 (trixie)")
NOBLE = Release("ubuntu", "24.04", "noble", "Ubuntu 24.04 LTS")
MAIN = AptSource(("http://mirror.test/debian",), ("bookworm",), ("main",), {"signed-by": "/key.gpg"})
BACKPORTS = AptSource(("http://mirror.test/debian",), ("bookworm-backports",), ("main",))


def recipe(
    monkeypatch: pytest.MonkeyPatch, release: Release, sources: list[AptSource], lacking: list[str]
) -> LauncherError:
    """What ``--no-install`` says on such a machine."""
    monkeypatch.setattr(packages, "read_release", lambda: release)
    monkeypatch.setattr(packages, "read_sources", lambda: sources)
    monkeypatch.setattr(packages, "missing", lambda names: [name for name in names if name in lacking])
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(LauncherError) as refusal:
        packages.install_incus(Host(Output(io.StringIO(), interactive=False), may_install=False))
    return refusal.value


def test_debian_12_takes_incus_and_only_incus_from_backports(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipe(monkeypatch, BOOKWORM, [MAIN], ["incus-base", "incus-client", "dnsmasq-base"])
    text = "\n".join(said.mend)
    assert said.code == "incus-missing"
    assert "tee /etc/apt/sources.list.d/coi-web-backports.sources" in text
    assert "URIs: http://mirror.test/debian\nSuites: bookworm-backports\n" in text
    assert "Signed-By: /key.gpg" in text
    quiet = "env DEBIAN_FRONTEND=noninteractive apt-get"
    assert f"{quiet} update" in text
    assert f"{quiet} install -y --no-install-recommends dnsmasq-base" in text
    assert f"{quiet} install -y --no-install-recommends -t bookworm-backports incus-base incus-client" in text


def test_backports_that_are_there_are_not_added_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipe(monkeypatch, BOOKWORM, [MAIN, BACKPORTS], ["incus-base"])
    text = "\n".join(said.mend)
    assert "sources.list.d" not in text
    assert "-t bookworm-backports incus-base" in text


@pytest.mark.parametrize("release", [TRIXIE, NOBLE])
def test_newer_ones_have_it_in_their_own_suites(monkeypatch: pytest.MonkeyPatch, release: Release) -> None:
    text = "\n".join(recipe(monkeypatch, release, [], ["incus-base", "incus-client"]).mend)
    assert "backports" not in text
    assert "apt-get install -y --no-install-recommends incus-base incus-client" in text


def test_other_systems_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipe(monkeypatch, Release("fedora", "44", "", "Fedora 44"), [], ["incus-base"])
    assert said.code == "unsupported-system"
    assert "Fedora 44" in said.message


def test_without_the_release_among_the_sources_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    said = recipe(monkeypatch, BOOKWORM, [], ["incus-base"])
    assert said.code == "apt-sources"
