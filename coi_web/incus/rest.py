"""Requests and operations of Incus, on pylxd's REST tree.

pylxd's models are not used: their ``wait=True`` has no time limit, they warn about every attribute that
LXD does not have, and their exec polls.  Operations are waited for in slices here.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any
from urllib.parse import quote

# Read when pylxd is imported: it must not warn about what Incus has and LXD has not.
os.environ.setdefault("PYLXD_WARNINGS", "none")

import pylxd
import pylxd.exceptions
import requests

from coi_web.incus import errors
from coi_web.incus.session import endpoint_address, new_session
from coi_web.incus.types import IncusConfig

#: Longest single wait for an operation: a daemon that died is noticed after this and the read margin.
SLICE_S = 10.0
#: What an answer may take beyond the time that Incus was asked to wait.
MARGIN_S = 5.0


class IncusRest:
    """One per process; connects at the first request, from any thread."""

    def __init__(self, config: IncusConfig) -> None:
        self.config = config
        self.timeout_s = config.timeout_s
        self._lock = threading.Lock()
        self._client: pylxd.Client | None = None
        self._pid = 0

    def ask(self, method: str, *path: str, doing: str, **request: Any) -> Any:
        """One request that answers at once: its metadata."""
        return self._request(method, path, self.timeout_s, doing, request).get("metadata")

    def change(self, method: str, *path: str, timeout_s: float, doing: str, **request: Any) -> Any:
        """One request, and the operation it starts until its end. Returns the operation's own metadata."""
        deadline = time.monotonic() + timeout_s
        answer = self._request(method, path, timeout_s, doing, request)
        if answer.get("type") != "async":
            return answer.get("metadata")
        identifier = str(answer["metadata"]["id"])
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise errors.timed_out(timeout_s, doing=doing)
            part = min(left, SLICE_S)
            operation = self._request(
                "GET",
                ("operations", identifier, "wait"),
                part + MARGIN_S,
                doing,
                {"params": {"timeout": str(max(1, round(part)))}},
            )["metadata"]
            code = int(operation.get("status_code") or 0)
            # https://linuxcontainers.org/incus/docs/main/rest-api/#list-of-current-status-codes
            if code == 200:
                return operation.get("metadata")
            if code >= 400:
                raise errors.rejected(code, str(operation.get("err") or "cancelled"), doing=doing)

    def _request(
        self, method: str, path: tuple[str, ...], timeout_s: float, doing: str, request: dict[str, Any]
    ) -> dict[str, Any]:
        try:
            node = self._connected(timeout_s).api
            for part in path:
                node = node[quote(part, safe="")]
            response = getattr(node, method.lower())(timeout=timeout_s, **request)
            answer: dict[str, Any] = response.json()
            return answer
        except pylxd.exceptions.LXDAPIException as error:
            status, text = _refusal(error.response)
            raise errors.rejected(status, text, doing=doing) from None
        except requests.exceptions.Timeout:
            raise errors.timed_out(timeout_s, doing=doing) from None
        except (requests.exceptions.RequestException, pylxd.exceptions.ClientConnectionFailed) as error:
            raise errors.unavailable(error, doing=doing) from error
        except (OSError, ValueError) as error:
            raise errors.unavailable(error, doing=doing) from error

    def _connected(self, timeout_s: float) -> pylxd.Client:
        """The client of this process; a forked child makes its own, since sockets cannot be shared."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                return self._client
        # Outside the lock, because it asks the daemon: threads must not queue for one that is silent.
        client = pylxd.Client(
            endpoint=endpoint_address(self.config),
            timeout=min(self.timeout_s, timeout_s),
            project=self.config.project,
            session=new_session(self.config),
        )
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                client.api.session.close()
            else:
                self._client, self._pid = client, os.getpid()
            return self._client

    def close(self) -> None:
        """Gives the connections back; the next call connects anew."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.api.session.close()
            self._client = None


def _refusal(response: requests.Response) -> tuple[int, str]:
    """Incus' status and error text alone: the rest of an answer may hold operation metadata.

    A failed operation is answered with HTTP 200 and its real status in the body.
    """
    try:
        data = response.json()
    except ValueError:
        data = {}
    if not isinstance(data, dict):
        data = {}
    status = int(data.get("error_code") or response.status_code)
    return status, str(data.get("error") or response.reason or "no text")
