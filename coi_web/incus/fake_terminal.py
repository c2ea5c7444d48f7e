"""A terminal of the fake engine: a line-editing shell that echoes, floods on demand and can be broken.

Nothing runs by itself: output is made while somebody reads, so no task is ever left behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from coi_web.incus import errors
from coi_web.incus.fake_shell import Context, Job, Pause, job_for, knows, run_script
from coi_web.incus.types import ExecRequest

_INTERRUPT, _END, _ERASE = 0x03, 0x04, 0x7F
_PROMPT = b"$ "
_HUNG_UP = 129
_INTERRUPTED = 130


class FakeTerminal:
    """See :class:`coi_web.incus.api.ExecStream`. ``input`` and ``sizes`` record what arrived."""

    def __init__(
        self, request: ExecRequest, *, hostname: str, paths: frozenset[str], is_frozen: Callable[[], bool]
    ) -> None:
        self.request = request
        self.input = bytearray()
        self.sizes: list[tuple[int, int]] = [(request.width, request.height)]
        self._is_frozen = is_frozen
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._output: deque[bytes] = deque()
        self._line = bytearray()
        self._lines: deque[bytes] = deque()
        self._wants_input = False
        self._until: float | None = None
        self._over = False
        self._closing = False
        self._code: int | None = None
        self._context = Context(
            hostname,
            dict(request.environment),
            request.user,
            request.cwd,
            (request.width, request.height),
            paths,
        )
        script = len(request.command) >= 3 and request.command[1] in ("-c", "-lc")
        known = knows(request.command)
        shell = request.command[0].rsplit("/", 1)[-1] in ("sh", "bash", "tmux", "login")
        #: A shell that asks for lines; a script too long for the fake becomes one too.
        self._interactive = (shell and not script) or (script and not known)
        self._job: Job | None = None
        if self._interactive:
            self.show(_PROMPT)
        else:
            self._job = job_for(request.command, self._context)

    # -- for tests and the engine ---------------------------------------------------------------------------

    def show(self, data: bytes) -> None:
        """Puts bytes on the screen as they are."""
        self._output.append(bytes(data))
        self.poke()

    def end(self, code: int | None) -> None:
        """Ends the command, from any thread; None is a broken connection."""
        self._code = code
        self._job, self._interactive = None, False
        self.poke()

    def poke(self) -> None:
        """Makes a waiting read look again, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake.set)

    def belongs_to(self, loop: asyncio.AbstractEventLoop) -> bool:
        return self._loop is loop

    @property
    def alive(self) -> bool:
        return not self._over and (self._interactive or self._job is not None)

    # -- ExecStream -----------------------------------------------------------------------------------------

    async def read(self) -> bytes:
        while not self._closing and not self._over:
            if self._is_frozen() and self.alive:
                await self._rest(None)
            elif self._output:
                return self._output.popleft()
            elif self._job is not None:
                await self._step(self._job)
            elif not self._interactive:
                self._over = True
            else:
                await self._rest(None)
        return b""

    async def write(self, data: bytes) -> None:
        if self._closing or not self.alive:
            raise errors.unavailable("the command is over", doing="send input to the terminal")
        self.input += data
        for byte in data:
            self._type(byte)
        self._wake.set()

    async def resize(self, cols: int, rows: int) -> None:
        if not self._closing and self.alive:
            self.sizes.append((cols, rows))
            self._context.size = (cols, rows)

    async def exit_code(self) -> int | None:
        return self._code

    async def aclose(self) -> None:
        if not self._closing:
            self._closing = True
            if self.alive:
                self.end(_HUNG_UP)
            self._over = True
            self._wake.set()

    # -- the machinery --------------------------------------------------------------------------------------

    async def _rest(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _step(self, job: Job) -> None:
        if self._until is not None:
            left = self._until - self._loop.time()
            if left > 0:
                await self._rest(left)
                return
            self._until = None
        if self._wants_input and not self._lines:
            await self._rest(None)
            return
        try:
            step = job.send(self._lines.popleft()) if self._wants_input else next(job)
        except StopIteration as end:
            self._wants_input = False
            self._finished(int(end.value))
            return
        self._wants_input = not isinstance(step, bytes | Pause)
        if isinstance(step, bytes):
            self._output.append(bytes(step).replace(b"\n", b"\r\n"))
        elif isinstance(step, Pause):
            self._until = self._loop.time() + step.seconds
        # A flood must not keep the event loop for itself.
        await asyncio.sleep(0)

    def _finished(self, code: int) -> None:
        self._job = None
        if self._interactive and not self._context.exited:
            self._output.append(_PROMPT)
            if self._lines:
                self._run(self._lines.popleft())
        else:
            self._interactive = False
            self._code = code

    def _type(self, byte: int) -> None:
        if byte == _INTERRUPT:
            self._line.clear()
            self._lines.clear()
            self._output.append(b"^C\r\n")
            self._until, self._wants_input = None, False
            if self._job is not None:
                self._context.exited = False
                self._finished(_INTERRUPTED)
            elif self._interactive:
                self._output.append(_PROMPT)
        elif byte == _END and not self._line:
            if self._job is not None:
                self._lines.append(b"")
            else:
                self._interactive = False
                self._code = self._context.last
        elif byte == _ERASE:
            if self._line:
                self._line.pop()
                self._output.append(b"\b \b")
        elif byte in b"\r\n":
            self._output.append(b"\r\n")
            line, self._line = bytes(self._line) + b"\n", bytearray()
            if self._job is None and self._interactive:
                self._run(line)
            else:
                self._lines.append(line)
        else:
            self._line.append(byte)
            self._output.append(bytes([byte]))

    def _run(self, line: bytes) -> None:
        text = line.decode("utf-8", "surrogateescape").strip()
        if text:
            self._job = _line_job(text, self._context)
        else:
            self._output.append(_PROMPT)


def _line_job(text: str, context: Context) -> Job:
    try:
        return (yield from run_script(text, context))
    except ValueError:
        yield b"sh: syntax error\n"
        return 2
