"""Consent, sizes, networks and what the launcher prints."""

from __future__ import annotations

import io
import ipaddress
import sys
from pathlib import Path

import pytest

from coi_web.launcher.errors import LauncherError
from coi_web.launcher.host import Host, run_streamed
from coi_web.launcher.incus_rest import Reach, knock
from coi_web.launcher.incus_setup import choose_pool_size, choose_subnet, routed_networks
from coi_web.launcher.logs import LogFile, follow, tail
from coi_web.launcher.output import Output, seconds
from coi_web.launcher.results import Counts, Result, read_counts, table
from coi_web.launcher.sizes import GIB, MIB, parse_size, show_size


def quiet() -> tuple[Output, io.StringIO]:
    stream = io.StringIO()
    return Output(stream, interactive=False), stream


class TestConsent:
    def test_no_install_prints_the_exact_commands_and_runs_nothing(self, tmp_path: Path) -> None:
        output, _ = quiet()
        host = Host(output, assume_yes=True, may_install=False)
        with pytest.raises(LauncherError) as refusal:
            host.change(
                [["touch", str(tmp_path / "made")]],
                title="Making",
                code="thing-missing",
                reason="The thing is missing.",
                environment={"A": "b c"},
                files={"/etc/thing": "text\n"},
            )
        assert refusal.value.code == "thing-missing"
        text = "\n".join(refusal.value.mend)
        assert f"env 'A=b c' touch {tmp_path / 'made'}" in text
        assert "tee /etc/thing <<'END'\ntext\nEND" in text
        assert not (tmp_path / "made").exists()

    def test_nobody_to_ask_is_a_no(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        output, _ = quiet()
        with pytest.raises(LauncherError) as refusal:
            Host(output).change([["touch", str(tmp_path / "made")]], title="T", code="c", reason="R.")
        assert "--yes" in refusal.value.mend[0]
        assert not (tmp_path / "made").exists()

    def test_yes_runs_it_and_shows_the_end_of_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        output, stream = quiet()
        host = Host(output, assume_yes=True)
        # The test is about consent, not about root.
        monkeypatch.setattr(Host, "privileged", lambda self, command: list(command))
        host.change([["touch", str(tmp_path / "made")]], title="Making it", code="c", reason="R.")
        assert (tmp_path / "made").exists()
        assert "ok  Making it" in stream.getvalue()
        with pytest.raises(LauncherError) as failure:
            host.change([["sh", "-c", "echo no paper; exit 7"]], title="T", code="c", reason="R.")
        assert "failed with code 7" in failure.value.message
        assert failure.value.detail == "no paper"


def test_a_command_that_takes_too_long_is_killed() -> None:
    assert run_streamed(["sleep", "600"], timeout_s=0.1).code < 0


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("20GiB", 20 * GIB),
            ("20 g", 20 * GIB),
            ("1.5MiB", int(1.5 * MIB)),
            ("2TB", 2 * 10**12),
            ("17", 17),
        ],
    )
    def test_parse(self, text: str, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "20 parsecs", "1e9", "1,5GiB", "٣GiB x"])
    def test_what_is_no_size_says_so(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)

    def test_show(self) -> None:
        assert [show_size(size) for size in (0, 512, 1536, 38 * GIB)] == ["0 B", "512 B", "1.5 KiB", "38 GiB"]

    def test_pool_takes_half_of_what_is_free(self) -> None:
        assert choose_pool_size(81 * GIB) == 40 * GIB
        assert choose_pool_size(7 * GIB) == 4 * GIB
        assert choose_pool_size(10_000 * GIB) == 400 * GIB
        with pytest.raises(LauncherError) as refusal:
            choose_pool_size(5 * GIB)
        assert refusal.value.code == "disk-space"


class TestNetworks:
    def test_a_subnet_overlaps_nothing(self) -> None:
        taken = [ipaddress.IPv4Network("10.118.0.0/17"), ipaddress.IPv4Network("10.119.76.0/24")]
        chosen = choose_subnet(taken)
        assert str(chosen) == "10.120.76.0/24"

    def test_a_crowded_machine_still_finds_one(self) -> None:
        every_block = [ipaddress.IPv4Network(f"10.{second}.76.0/24") for second in range(256)]
        chosen = choose_subnet(every_block)
        assert not any(chosen.overlaps(network) for network in every_block)

    def test_a_full_one_says_so(self) -> None:
        with pytest.raises(LauncherError) as refusal:
            choose_subnet([ipaddress.IPv4Network("10.0.0.0/8")])
        assert refusal.value.code == "incus-network"

    def test_routes(self) -> None:
        routes = (
            "default via 192.168.1.1 dev eth0\n"
            "10.8.0.0/16 dev tun0 scope link\n"
            "local 10.9.3.1 dev br0 table local proto kernel\n"
            "broadcast 10.9.3.255 dev br0 table local\n"
            "0.0.0.0/1 via 10.8.0.1 dev tun0\n"
            "unreachable 10.7.0.0/24 metric 1\n"
        )
        assert [str(network) for network in routed_networks(routes)] == [
            "10.8.0.0/16",
            "10.9.3.1/32",
            "10.9.3.255/32",
            "10.7.0.0/24",
        ]


def test_knock_tells_absent_from_stale(tmp_path: Path) -> None:
    import socket

    path = tmp_path / "socket"
    assert knock(path) is Reach.ABSENT
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        assert knock(path) is Reach.ANSWERS
    assert knock(path) is Reach.STALE


class TestOutput:
    def test_a_slow_step_shows_that_it_is_alive(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("coi_web.launcher.output.QUIET_S", 0.01)
        output, stream = quiet()
        with output.step("Building") as step:
            step.detail = "stone 3"
            while "…   Building: stone 3" not in stream.getvalue():
                assert step.elapsed_s < 10
        assert "ok  Building" in stream.getvalue()

    def test_a_failed_step_says_so_and_lets_the_error_through(self) -> None:
        output, stream = quiet()
        with pytest.raises(LauncherError), output.step("Building"):
            raise LauncherError("x", "No stones.")
        assert " fail Building" in stream.getvalue()

    def test_a_reader_that_has_gone_ends_nothing(self) -> None:
        output, stream = quiet()
        stream.close()
        output.say("still here")

    def test_seconds(self) -> None:
        assert [seconds(value) for value in (0.42, 12.4, 185)] == ["0.4 s", "12 s", "3 min 05 s"]


class TestLogs:
    def test_a_log_stays_within_its_bound(self, tmp_path: Path) -> None:
        log = LogFile(tmp_path / "web.log", max_bytes=100, keep=2)
        for number in range(40):
            log.write(f"line {number:03d} of text\n".encode())
        log.close()
        files = sorted(path.name for path in tmp_path.iterdir())
        assert files == ["web.log", "web.log.1", "web.log.2"]
        assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
        assert tail(tmp_path / "web.log", 1) == ["line 039 of text"]
        assert tail(tmp_path / "missing.log", 5) == []

    def test_follow_goes_on_across_a_rotation(self, tmp_path: Path) -> None:
        path = tmp_path / "web.log"
        log = LogFile(path, max_bytes=40, keep=1)
        log.write(b"old\n")
        steps = iter([b"first\n", b"half of a ", b"line\n", b"after the rotation\n"])
        stream = io.StringIO()
        left = [6]

        def go_on() -> bool:
            left[0] -= 1
            return left[0] > 0

        follow([path], stream=stream, wait=lambda: log.write(next(steps, b"")), go_on=go_on)
        log.close()
        assert stream.getvalue().splitlines() == ["first", "half of a line", "after the rotation"]


class TestResults:
    def test_counts_of_a_report(self, tmp_path: Path) -> None:
        report = tmp_path / "report.xml"
        report.write_text(
            "<testsuites><testsuite>"
            "<testcase/><testcase><failure/></testcase><testcase><error/></testcase>"
            '<testcase><skipped type="pytest.skip"/></testcase>'
            '<testcase><skipped type="pytest.xfail"/></testcase>'
            "</testsuite></testsuites>"
        )
        assert read_counts(report) == Counts(passed=2, failed=2, skipped=1)
        assert read_counts(tmp_path / "missing.xml") is None

    def test_the_last_line_is_the_sum(self) -> None:
        results = [
            Result("mypy", False, 3.0, "code 1"),
            Result("unit", True, 2.0, "", Counts(10, 0, 0)),
            Result("incus", False, 2.0, "", Counts(3, 2, 0)),
        ]
        lines = table(results, ["browser, because of --without browser"])
        assert lines[-1] == "13 passed, 2 failed"
        assert lines[-2] == "FAILED: mypy, incus"
        assert "LEFT OUT: browser, because of --without browser" in lines
