"""Starting a command in an instance and its sockets; what terminals and ``run`` share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp

from coi_web.errors import IncusError
from coi_web.incus.http import Connection, WebSocket

CONTROL = "control"
#: How long the exit code may take once the output has ended, in seconds.
EXIT_CODE_TIMEOUT_S = 5.0


class ExecOperation:
    """A started command. Its sockets' secrets stay in here and in the requests that need them."""

    def __init__(self, connection: Connection, identifier: str, name: str) -> None:
        self._connection = connection
        self.identifier = identifier
        self.doing = f"run a command in {name}"
        self.sockets: dict[str, WebSocket] = {}

    @classmethod
    async def start(cls, connection: Connection, name: str, body: Mapping[str, Any]) -> ExecOperation:
        """Raises Incus errors; leaves nothing open then.

        The command only starts when every socket is connected, the control socket too.
        """
        answer = await connection.request(
            "POST", "instances", name, "exec", json=body, doing=f"run a command in {name}"
        )
        metadata = answer["metadata"]
        operation = cls(connection, str(metadata["id"]), name)
        secrets: dict[str, str] = metadata["metadata"]["fds"]
        try:
            # In parallel; control last would do as well, but one round trip is saved per socket.
            async with asyncio.TaskGroup() as group:
                for key, secret in secrets.items():
                    group.create_task(operation._connect(key, secret))
        except BaseExceptionGroup as failures:
            await operation.close()
            raise _first(failures) from None
        except asyncio.CancelledError:
            await operation.close()
            raise
        return operation

    async def _connect(self, key: str, secret: str) -> None:
        self.sockets[key] = await self._connection.websocket(
            "operations",
            self.identifier,
            "websocket",
            params={"secret": secret},
            autoping=False,
            doing=self.doing,
        )

    async def control(self, message: Mapping[str, object]) -> bool:
        """Tells Incus something about the command; False when its control socket is gone."""
        socket = self.sockets.get(CONTROL)
        if socket is None or socket.closed:
            return False
        try:
            async with asyncio.timeout(self._connection.timeout_s):
                await socket.send_str(json.dumps(message))
        except (aiohttp.ClientError, OSError):
            return False
        return True

    async def signal(self, number: int) -> bool:
        return await self.control({"command": "signal", "signal": number})

    async def exit_code(self, timeout_s: float = EXIT_CODE_TIMEOUT_S) -> int | None:
        """As a shell counts: 127 for a command that is not there, 126 for one that cannot be run.

        None when Incus does not say, such as after it was restarted; -1 when the container was stopped
        before Incus saw how the command ended.  Incus forgets an operation 5 s
        after its end, so this is asked as soon as the output ends.
        """
        limit = str(max(1, round(timeout_s)))
        code = await self._returned("wait", params={"timeout": limit}, timeout_s=timeout_s + 1)
        if code is None:
            # Waiting for a command that could not be started answers with an error instead of its state.
            code = await self._returned(timeout_s=timeout_s)
        return code

    async def _returned(
        self, *path: str, params: Mapping[str, str] | None = None, timeout_s: float
    ) -> int | None:
        try:
            answer = await self._connection.request(
                "GET",
                "operations",
                self.identifier,
                *path,
                params=params,
                timeout_s=timeout_s,
                doing=self.doing,
            )
        except IncusError:
            return None
        code = (answer["metadata"].get("metadata") or {}).get("return")
        return None if code is None else int(code)

    async def close(self) -> None:
        """Closes all sockets. Safe to repeat."""
        await asyncio.gather(*(socket.close() for socket in self.sockets.values()), return_exceptions=True)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
