"""The real client and streams against daemons that are not there, silent, or gone halfway."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from coi_web.errors import IncusError, IncusRejected, IncusTimedOut, IncusUnavailable
from coi_web.incus.client import IncusClient
from coi_web.incus.streams import IncusEventStreams
from coi_web.incus.types import ExecRequest, IncusConfig

SECRET = "0123456789abcdef-secret"
Answer = tuple[int, object]


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    answer: Callable[[str, str], Answer]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        assert isinstance(self.server, _Server)
        status, body = self.server.answer(self.command, self.path)
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""

    def address_string(self) -> str:
        return "unix"


def sync(metadata: object) -> Answer:
    return 200, {"type": "sync", "status_code": 200, "metadata": metadata}


def server_info() -> Answer:
    return sync(
        {"environment": {"server_version": "6.0.4"}, "api_extensions": ["projects"], "auth": "trusted"}
    )


@pytest.fixture
def pretend(tmp_path: Path) -> Iterator[Callable[[Callable[[str, str], Answer]], IncusConfig]]:
    """A daemon that answers as told, apart from the question for its version."""
    servers: list[_Server] = []

    def start(answer: Callable[[str, str], Answer]) -> IncusConfig:
        path = tmp_path / f"incus{len(servers)}.socket"
        server = _Server(str(path), _Handler)
        server.answer = lambda method, url: (
            server_info() if url.split("?")[0] == "/1.0" else answer(method, url)
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return IncusConfig(endpoint=str(path), timeout_s=1)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[IncusConfig]:
    """A daemon that takes connections and never says a word."""
    path = tmp_path / "silent.socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(16)
        yield IncusConfig(endpoint=str(path), timeout_s=0.2)


def test_nobody_there(tmp_path: Path) -> None:
    client = IncusClient(IncusConfig(endpoint=str(tmp_path / "none.socket")))
    for call in (client.server, lambda: client.run("c1", ["true"])):
        with pytest.raises(IncusUnavailable):
            call()


def test_silent_daemon(silent: IncusConfig) -> None:
    client = IncusClient(silent)
    begin = time.monotonic()
    with pytest.raises(IncusTimedOut):
        client.instances()
    with pytest.raises(IncusTimedOut):
        client.run("c1", ["true"], timeout_s=0.2)
    assert time.monotonic() - begin < 3


def test_threads_do_not_queue_for_a_silent_daemon(silent: IncusConfig) -> None:
    client = IncusClient(silent)
    failures: list[IncusError] = []

    def ask() -> None:
        try:
            client.instances()
        except IncusError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    # One after the other would take 10 times the limit of 0.2 s.
    assert time.monotonic() - begin < 1.5
    assert [type(error) for error in failures] == [IncusTimedOut] * 10


async def test_silent_daemon_for_streams(silent: IncusConfig) -> None:
    streams = IncusEventStreams(silent)
    with pytest.raises(IncusTimedOut):
        await streams.open_exec("c1", ExecRequest(("sh",)))
    with pytest.raises(IncusTimedOut):
        async for _ in streams.events():
            pass
    await streams.aclose()


async def test_nobody_there_for_streams(tmp_path: Path) -> None:
    streams = IncusEventStreams(IncusConfig(endpoint=str(tmp_path / "none.socket")))
    with pytest.raises(IncusUnavailable):
        await streams.open_exec("c1", ExecRequest(("sh",)))
    with pytest.raises(IncusUnavailable):
        async for _ in streams.events():
            pass
    await streams.aclose()


def test_comes_back(tmp_path: Path, pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]) -> None:
    config = pretend(lambda method, url: sync([]))
    hidden = Path(config.endpoint).rename(tmp_path / "away")
    client = IncusClient(config)
    with pytest.raises(IncusUnavailable):
        client.instances()
    hidden.rename(config.endpoint)
    assert client.instances() == ()
    client.close()


def test_operation_without_end(pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]) -> None:
    def answer(method: str, url: str) -> Answer:
        if "/operations/" in url:
            time.sleep(0.02)
            return sync({"id": "op", "status_code": 103, "metadata": {"fds": {"0": SECRET}}})
        return 202, {"type": "async", "status_code": 100, "metadata": {"id": "op"}}

    client = IncusClient(pretend(answer))
    begin = time.monotonic()
    with pytest.raises(IncusTimedOut) as caught:
        client.delete_instance("c1", timeout_s=0.2)
    assert time.monotonic() - begin < 2
    assert_no_secret(caught.value)
    client.close()


def test_operation_that_fails(pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]) -> None:
    def answer(method: str, url: str) -> Answer:
        if "/operations/" in url:
            return sync(
                {"id": "op", "status_code": 400, "err": "it broke", "metadata": {"fds": {"0": SECRET}}}
            )
        return 202, {"type": "async", "status_code": 100, "metadata": {"id": "op"}}

    client = IncusClient(pretend(answer))
    with pytest.raises(IncusRejected) as caught:
        client.delete_instance("c1")
    assert "it broke" in caught.value.log_detail
    assert_no_secret(caught.value)
    client.close()


@pytest.mark.parametrize("status", [200, 400, 500])
def test_secrets_stay_out_of_errors(
    status: int, pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]
) -> None:
    def answer(method: str, url: str) -> Answer:
        return status, {
            "type": "error",
            "error": "no",
            "error_code": 500,
            "metadata": {"metadata": {"fds": {"0": SECRET}}},
        }

    client = IncusClient(pretend(answer))
    for call in (lambda: client.start_instance("c1"), lambda: client.run("c1", ["true"])):
        with pytest.raises(IncusRejected) as caught:
            call()
        assert_no_secret(caught.value)
    client.close()


async def test_secrets_stay_out_of_errors_of_sockets(
    pretend: Callable[[Callable[[str, str], Answer]], IncusConfig],
) -> None:
    def answer(method: str, url: str) -> Answer:
        if method == "POST":
            fds = {"0": SECRET, "control": SECRET}
            return 202, {"type": "async", "metadata": {"id": "op", "metadata": {"fds": fds}}}
        return 403, {"type": "error", "error": "no", "error_code": 403}

    streams = IncusEventStreams(await asyncio.to_thread(pretend, answer))
    with pytest.raises(IncusError) as caught:
        await streams.open_exec("c1", ExecRequest(("sh",)))
    assert_no_secret(caught.value)
    await streams.aclose()


def test_the_environment_is_not_heeded(
    monkeypatch: pytest.MonkeyPatch, pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nonexistent")
    client = IncusClient(pretend(lambda method, url: sync([])))
    assert client.instances() == ()
    client.close()


def test_names_are_quoted(pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]) -> None:
    asked: list[str] = []

    def answer(method: str, url: str) -> Answer:
        asked.append(url)
        return sync({"name": "x", "status": "Stopped"})

    client = IncusClient(pretend(answer))
    client.instance("../../projects/other?a=b")
    assert asked == ["/1.0/instances/..%2F..%2Fprojects%2Fother%3Fa%3Db?project=default"]
    client.close()


def test_many_threads(pretend: Callable[[Callable[[str, str], Answer]], IncusConfig]) -> None:
    client = IncusClient(pretend(lambda method, url: sync([])))
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(20):
                client.instances()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []
    client.close()


def assert_no_secret(error: IncusError) -> None:
    """Not in its texts, and not in what caused it and would be logged with it."""
    link: BaseException | None = error
    while link is not None:
        assert SECRET not in str(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    assert SECRET not in error.log_detail
