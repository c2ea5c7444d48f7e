"""The few words of a shell that the fake containers understand.

Commands are generators: they yield output, ask for input with ``WANT_INPUT`` and rest with ``Pause``; who
drives them decides about time, so tests never really sleep.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

_PIECE = 4096
_OCTAL = re.compile(rb"\\([0-7]{1,3}|[nrt\\])")
_VARIABLE = re.compile(r"\$\{?(\w+|\?)\}?")
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\"}


class ErrorOutput(bytes):
    """What a command writes to stderr."""


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


class _Want:
    pass


#: Answered with the next input, ``b""`` at its end.
WANT_INPUT = _Want()

Step = bytes | Pause | _Want
Job = Generator[Step, bytes | None, int]


@dataclass(slots=True)
class Context:
    """Where a command runs. ``size`` is columns and rows of its terminal."""

    hostname: str
    environment: dict[str, str] = field(default_factory=dict)
    user: int = 0
    cwd: str = "/"
    size: tuple[int, int] = (80, 24)
    paths: frozenset[str] = frozenset()
    last: int = 0
    exited: bool = False


def job_for(command: tuple[str, ...], context: Context) -> Job:
    """The command as exec would start it; 127 without a word for what is not there."""
    if command[0].rsplit("/", 1)[-1] in ("sh", "bash") and len(command) >= 3 and command[1] in ("-c", "-lc"):
        return run_script(command[2], context)
    builtin = _BUILTINS.get(command[0].rsplit("/", 1)[-1])
    return builtin(list(command[1:]), context) if builtin else _missing()


def knows(command: tuple[str, ...]) -> bool:
    """Whether the command, or every line of its script, is among what is understood here."""
    word = command[0].rsplit("/", 1)[-1]
    if word in ("sh", "bash") and len(command) >= 3 and command[1] in ("-c", "-lc"):
        try:
            return all(words[0] in _BUILTINS for words, _, _ in _commands(command[2]))
        except ValueError:
            return False
    return word in _BUILTINS


def run_script(script: str, context: Context) -> Job:
    skip = False
    for words, before, to_stderr in _commands(script):
        skip = (before == "&&" and context.last != 0) or (before == "||" and context.last == 0)
        if skip:
            continue
        words = [_expand(word, context) for word in words]
        builtin = _BUILTINS.get(words[0])
        if builtin is None:
            yield ErrorOutput(f"sh: {words[0]}: not found\n".encode())
            context.last = 127
            continue
        context.last = yield from _redirected(builtin(words[1:], context), to_stderr)
        if context.exited:
            break
    return context.last


def _redirected(job: Job, to_stderr: bool) -> Job:
    if not to_stderr:
        return (yield from job)
    try:
        step = next(job)
        while True:
            given = yield (ErrorOutput(step) if isinstance(step, bytes) else step)
            step = job.send(given)
    except StopIteration as end:
        return int(end.value)


def _commands(script: str) -> list[tuple[list[str], str, bool]]:
    """Words of each simple command, the operator before it, and whether it writes to stderr."""
    lexer = shlex.shlex(script.replace("\n", ";"), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    found: list[tuple[list[str], str, bool]] = []
    words: list[str] = []
    before, to_stderr, redirect = ";", False, ""
    for part in lexer:
        if redirect:
            to_stderr, redirect = redirect == ">&" and part == "2", ""
        elif part and set(part) <= {"<", ">", "&"} and part not in ("&", "&&"):
            redirect = part
        elif part and set(part) <= {";", "&", "|"}:
            if words:
                found.append((words, before, to_stderr))
            words, before, to_stderr = [], part, False
        else:
            words.append(part)
    if words:
        found.append((words, before, to_stderr))
    return found


def _expand(word: str, context: Context) -> str:
    def value(match: re.Match[str]) -> str:
        return str(context.last) if match[1] == "?" else context.environment.get(match[1], "")

    return _VARIABLE.sub(value, word)


def _missing() -> Job:
    yield from ()
    return 127


def _text(words: list[str], context: Context, make: Callable[[list[str], Context], str]) -> Job:
    yield make(words, context).encode()
    return 0


def _says(make: Callable[[list[str], Context], str]) -> Callable[[list[str], Context], Job]:
    return lambda words, context: _text(words, context, make)


def _ends(code: int) -> Callable[[list[str], Context], Job]:
    def job(_words: list[str], _context: Context) -> Job:
        yield from ()
        return code

    return job


def _exit(words: list[str], context: Context) -> Job:
    yield from ()
    context.exited = True
    return int(words[0]) if words else context.last


def _echo(words: list[str], _context: Context) -> str:
    if words[:1] == ["-n"]:
        return " ".join(words[1:])
    return " ".join(words) + "\n"


def _printf(words: list[str], _context: Context) -> Job:
    def byte(match: re.Match[bytes]) -> bytes:
        return _ESCAPES.get(match[1]) or bytes([int(match[1], 8) & 0xFF])

    if words:
        yield _OCTAL.sub(byte, words[0].encode())
    return 0


def _cat(words: list[str], _context: Context) -> Job:
    if words:
        yield ErrorOutput(f"cat: can't open '{words[0]}': No such file or directory\n".encode())
        return 1
    while data := (yield WANT_INPUT):
        yield data
    return 0


def _id(words: list[str], context: Context) -> str:
    name = {0: "root", 1000: "code"}.get(context.user, str(context.user))
    if words:
        return f"{name if '-un' in words else context.user}\n"
    return f"uid={context.user}({name}) gid={context.user}({name})\n"


def _sleep(words: list[str], _context: Context) -> Job:
    yield Pause(float(words[0]))
    return 0


def _head(words: list[str], _context: Context) -> Job:
    """``head -c N /dev/zero`` only."""
    left = int(words[words.index("-c") + 1])
    while left > 0:
        piece = min(left, _PIECE)
        yield bytes(piece)
        left -= piece
    return 0


def _yes(words: list[str], _context: Context) -> Job:
    line = (" ".join(words) or "y").encode() + b"\n"
    block = line * max(1, _PIECE // len(line))
    while True:
        yield block


def _seq(words: list[str], _context: Context) -> Job:
    first, last = (1, int(words[0])) if len(words) == 1 else (int(words[0]), int(words[1]))
    for start in range(first, last + 1, 500):
        yield b"".join(b"%d\n" % number for number in range(start, min(start + 500, last + 1)))
    return 0


def _stty(words: list[str], context: Context) -> Job:
    if words == ["size"]:
        yield f"{context.size[1]} {context.size[0]}\n".encode()
    return 0


def _test(words: list[str], context: Context) -> Job:
    yield from ()
    operands = [word for word in words if word != "]"]
    if len(operands) == 2 and operands[0] in ("-e", "-f", "-d", "-x"):
        return 0 if operands[1] in context.paths else 1
    if len(operands) == 2 and operands[0] in ("-n", "-z"):
        return 0 if bool(operands[1]) == (operands[0] == "-n") else 1
    if len(operands) == 3 and operands[1] == "=":
        return 0 if operands[0] == operands[2] else 1
    return 2


_BUILTINS: Mapping[str, Callable[[list[str], Context], Job]] = {
    ":": _ends(0),
    "[": _test,
    "cat": _cat,
    "echo": _says(_echo),
    "env": _says(lambda _w, c: "".join(f"{key}={value}\n" for key, value in c.environment.items())),
    "exit": _exit,
    "false": _ends(1),
    "head": _head,
    "hostname": _says(lambda _w, c: f"{c.hostname}\n"),
    "id": _says(_id),
    "printf": _printf,
    "pwd": _says(lambda _w, c: f"{c.cwd}\n"),
    "seq": _seq,
    "sleep": _sleep,
    "stty": _stty,
    "test": _test,
    "trap": _ends(0),
    "true": _ends(0),
    "yes": _yes,
}
