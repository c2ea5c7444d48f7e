"""``./coi-web remove``: takes what is ours out of Incus, after a typed confirmation."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

from coi_web.launcher.engine import NETWORK, POOL, STARTER, TINY
from coi_web.launcher.errors import LauncherError
from coi_web.launcher.incus_rest import IncusRefused, IncusRest, Reach, knock, trusted_server
from coi_web.launcher.lock import current_holder
from coi_web.launcher.output import Output
from coi_web.launcher.paths import DataFolder

_WORD = "delete"


def remove(data: DataFolder, output: Output, *, confirmed: str) -> int:
    """Deletes the containers and volumes in our pool, our images, network and pool.

    Packages, the Incus daemon and the data folder stay; nothing outside our pool is touched.  Safe to
    repeat.  Raises LauncherError where the panel still runs or the word was not typed.
    """
    holder = current_holder(data.lock)
    if holder is not None:
        raise LauncherError(
            "still-running", f"The panel runs (process {holder.pid}).", mend=["./coi-web down"]
        )
    if knock() is not Reach.ANSWERS:
        raise LauncherError("incus-silent", "Incus does not answer.", mend=["Start it, then try again."])
    rest = IncusRest()
    trusted_server(rest)
    containers = _instances_in_pool(rest)
    volumes = _volumes_in_pool(rest)
    images = _our_images(rest)
    output.say("This will be deleted from Incus, for good:")
    output.say(f"  containers  {', '.join(sorted(one['name'] for one in containers)) or 'none'}")
    output.say(f"  workspaces  {', '.join(sorted(one['name'] for one in volumes)) or 'none'}")
    output.say(f"  images      {len(images)} behind {STARTER} and {TINY}")
    output.say(f"  pool {POOL} and network {NETWORK}")
    _confirm(confirmed)
    try:
        with output.step("Deleting"):
            _delete_all(rest, containers, volumes, images)
    except IncusRefused as refusal:
        raise LauncherError(
            "remove-failed", "Incus refused; what was deleted stays deleted.", detail=refusal.message,
            mend=["Mend it and run ./coi-web remove again."],
        ) from refusal  # fmt: skip
    output.say(
        f"\nLeft: Incus itself, and {data.path} with database, secrets and logs: delete it if you are done."
    )
    return 0


def _confirm(given: str) -> None:
    if not given and sys.stdin.isatty():
        given = input(f"\nType “{_WORD}” to go on: ").strip()
    if given != _WORD:
        raise LauncherError(
            "not-confirmed", "Nothing was deleted.", mend=[f"./coi-web remove --confirm {_WORD}"]
        )


def _delete_all(
    rest: IncusRest, containers: list[dict[str, Any]], volumes: list[dict[str, Any]], images: list[str]
) -> None:
    for one in containers:
        scoped = IncusRest(rest.path, str(one.get("project") or "default"))
        if one.get("status") != "Stopped":
            body = {"action": "stop", "force": True, "timeout": 30}
            scoped.change("PUT", f"/1.0/instances/{quote(one['name'])}/state", body)
        scoped.change("DELETE", f"/1.0/instances/{quote(one['name'])}")
    for one in volumes:
        scoped = IncusRest(rest.path, str(one.get("project") or "default"))
        scoped.change("DELETE", f"/1.0/storage-pools/{POOL}/volumes/custom/{quote(one['name'])}")
    for fingerprint in images:
        rest.change("DELETE", f"/1.0/images/{fingerprint}")
    for url in (f"/1.0/networks/{NETWORK}", f"/1.0/storage-pools/{POOL}"):
        if rest.find(url) is not None:
            rest.change("DELETE", url)


def _instances_in_pool(rest: IncusRest) -> list[dict[str, Any]]:
    """Every instance whose root disk lies in our pool, in whatever project."""
    found: list[dict[str, Any]] = rest.get("/1.0/instances", recursion="1", all_projects="true")
    return [one for one in found if one.get("expanded_devices", {}).get("root", {}).get("pool") == POOL]


def _volumes_in_pool(rest: IncusRest) -> list[dict[str, Any]]:
    if rest.find(f"/1.0/storage-pools/{POOL}") is None:
        return []
    url = f"/1.0/storage-pools/{POOL}/volumes/custom"
    found: list[dict[str, Any]] = rest.get(url, recursion="1", all_projects="true")
    return found


def _our_images(rest: IncusRest) -> list[str]:
    found: list[dict[str, Any]] = rest.get("/1.0/images", recursion="1")
    ours = []
    for image in found:
        names = [str(alias["name"]) for alias in image.get("aliases") or []]
        if any(name in (STARTER, TINY) or name.startswith(f"{STARTER}-") for name in names):
            ours.append(str(image["fingerprint"]))
    return ours
