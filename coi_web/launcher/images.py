"""Making sure that the image sessions start from is there."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from coi_web.launcher.apt import Archive, Release, main_archive, read_release, read_sources, related_suites
from coi_web.launcher.engine import STARTER, TINY
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host, find_program, run_streamed
from coi_web.launcher.incus_rest import IncusRest
from coi_web.launcher.output import Step
from coi_web.launcher.packages import SUPPORT, install
from coi_web.launcher.paths import ROOT
from coi_web.launcher.starter_image import PREFIX, WORK_FOLDER, Recipe

_BUILD_LIMIT_S = 1800
_STAGES = (
    (re.compile(r"^I: Retrieving (\S+)"), "downloading {0}"),
    (re.compile(r"^I: Extracting (\S+?)\.\.\."), "extracting {0}"),
    (re.compile(r"^I: Unpacking (\S+?)\.\.\."), "unpacking {0}"),
    (re.compile(r"^I: Configuring (\S+?)\.\.\."), "configuring {0}"),
    (re.compile(r"^(Configuring|Packing) the image"), "{0} the image"),
)


def ensure_starter_image(host: Host, rest: IncusRest, cache: Path) -> None:
    """Builds and imports ``coi-default`` unless the alias is there."""
    if rest.find(f"/1.0/images/aliases/{STARTER}") is not None:
        return
    install(host, SUPPORT, reason="Tools for building the image are missing.", code="packages-missing")
    recipe = make_recipe(read_release())
    packages = cache / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    folder = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=WORK_FOLDER)
    with folder, host.output.step(f"Building the image {STARTER} (a minute or two, once)") as step:
        output = Path(folder.name) / f"{STARTER}.tar.zst"
        command = [
            sys.executable,
            "-m",
            "coi_web.launcher.starter_image",
            "--output",
            str(output),
            "--cache",
            str(packages),
            "--recipe",
            json.dumps(dataclasses.asdict(recipe)),
        ]
        done = run_streamed(
            host.privileged(command),
            on_line=lambda line: _show_stage(step, line),
            environment=_proxy_environment(),
            cwd=ROOT,
            timeout_s=_BUILD_LIMIT_S,
        )
        if done.code != 0:
            raise LauncherError(
                "image-build",
                f"The image {STARTER} could not be built.",
                detail=done.tail,
                mend=[f"Is {recipe.mirror} reachable from here, and is there 2 GiB of space in /var/tmp?"],
            )
        step.detail = "importing"
        fingerprint = rest.upload_image(output)
        serial = str(rest.get(f"/1.0/images/{fingerprint}")["properties"].get("serial", ""))
        if serial:
            rest.point_alias(f"{STARTER}-{serial}", fingerprint, "One build of the starter image")
        rest.point_alias(STARTER, fingerprint, "What sessions start from")
        step.detail = ""
        step.note = f"{recipe.distribution} {recipe.suite}"


def ensure_tiny_image(host: Host, rest: IncusRest) -> None:
    """Builds and imports ``coi-tiny`` (busybox only) unless an up-to-date one is there."""
    # Imported here: the rest of the launcher must work where the panel's packages do not.
    from coi_web.incus import tiny_image

    alias = rest.find(f"/1.0/images/aliases/{TINY}")
    if alias is not None:
        image = rest.find(f"/1.0/images/{alias['target']}") or {}
        if image.get("properties", {}).get(tiny_image.RECIPE_PROPERTY) == tiny_image.RECIPE:
            return
    install(host, ("busybox-static",), reason="The tiny image is made of busybox.", code="packages-missing")
    with host.output.step(f"Building the image {TINY}"), tempfile.TemporaryDirectory() as folder:
        tarball = Path(folder) / "coi-tiny.tar.gz"
        fingerprint = tiny_image.build(tarball)
        if rest.find(f"/1.0/images/{fingerprint}") is None:
            fingerprint = rest.upload_image(tarball)
        rest.point_alias(TINY, fingerprint, "A shell to try the panel with")


def make_recipe(release: Release) -> Recipe:
    """How to build the image on this machine.  Raises LauncherError where its sources name no archive."""
    sources = read_sources()
    archive = main_archive(sources, release)
    if archive is None or release.identity not in ("debian", "ubuntu"):
        raise LauncherError(
            "apt-sources",
            f"The apt sources of this machine name no archive of {release.title} to build the image from.",
            mend=[f"Import an image yourself and give it the alias {STARTER}, then run ./coi-web up again."],
        )
    components = tuple(part for part in ("main", "universe") if part in archive.components)
    options = " ".join(filter(None, ["trusted=yes" if archive.source.trusted else ""]))
    bracket = f"[{options}] " if options else ""
    suites = [(archive.mirror, archive.suite, components)]
    suites += [
        (uri, suite, tuple(part for part in ("main", "universe") if part in parts))
        for uri, suite, parts in related_suites(sources, release)
    ]
    return Recipe(
        distribution=release.identity,
        suite=archive.suite,
        mirror=archive.mirror,
        components=components,
        keyring=keyring_of(archive, release),
        trusted=archive.source.trusted,
        dated=archive.dated,
        apt_lines=tuple(
            f"deb {bracket}{uri} {suite} {' '.join(parts)}" for uri, suite, parts in suites if parts
        ),
    )


def keyring_of(archive: Archive, release: Release) -> str:
    """The key file that the archive is checked with: the source's own, else the distribution's; "" = debootstrap's."""
    for candidate in (
        archive.source.signed_by,
        f"/usr/share/keyrings/{release.identity}-archive-keyring.gpg",
        f"/usr/share/keyrings/{release.identity}-archive-keyring.pgp",
    ):
        if candidate.startswith("/") and Path(candidate).is_file():
            return candidate
    return ""


def _show_stage(step: Step, line: str) -> None:
    for pattern, words in _STAGES:
        match = pattern.match(line)
        if match is not None:
            step.detail = words.format(match[1].lower())[:80]
            return


def _proxy_environment() -> dict[str, str]:
    """debootstrap downloads with wget, which does not know apt's proxy."""
    if os.environ.get("http_proxy") or find_program("apt-config") is None:
        return {}
    done = run_streamed(["apt-config", "dump", "Acquire::http::Proxy"], timeout_s=10)
    match = re.search(r'^Acquire::http::Proxy "(http[^"]+)";', done.output, re.MULTILINE)
    return {"http_proxy": match[1]} if match else {}
