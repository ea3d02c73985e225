"""Requests to a running service: closed loops of clients, and an open loop at a given rate.

The client is as thin as it can be, raw bytes over a kept connection, since it shares the processor with what it measures.
"""

import asyncio
import contextlib
import json
import statistics
import time
from dataclasses import dataclass, field


@dataclass
class Measured:
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # seconds to a 429
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def served(self) -> int:
        return self.statuses.get(200, 0)

    def percentile(self, share: float) -> float:
        """Seconds."""
        if len(self.latencies) < 2:
            return float("nan")
        return statistics.quantiles(self.latencies, n=1000, method="inclusive")[min(998, int(share * 1000) - 1)]

    def note(self, status: int, started: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if status in (200, 429):
            (self.latencies if status == 200 else self.refused).append(time.perf_counter() - started)


def request(text: str) -> bytes:
    body = json.dumps({"text": text}).encode()
    head = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, message: bytes) -> int:
        """The status of the answer, whose body is read to its end."""
        if self._streams is not None and self._streams[0].at_eof():  # the service closes idle connections
            await self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        reader, writer = self._streams
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        await reader.readexactly(length)
        if "connection: close" in head:
            await self.close()
        return int(head.split()[1])

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def closed(port: int, messages: list[bytes], *, clients: int, seconds: float) -> Measured:
    """So many clients, each sending its next request when the last was answered."""
    measured = Measured()
    start = time.perf_counter()

    async def one(number: int) -> None:
        client = Client(port)
        turn = number
        while time.perf_counter() - start < seconds:
            started = time.perf_counter()
            measured.note(await client.send(messages[turn % len(messages)]), started)
            turn += clients
        await client.close()

    await asyncio.gather(*(one(n) for n in range(clients)))
    measured.seconds = time.perf_counter() - start
    return measured


async def opened(port: int, messages: list[bytes], *, rate: float, seconds: float) -> Measured:
    """A request every `1 / rate` seconds, whether the ones before were answered or not; latency counts from its due time."""
    measured = Measured()
    free: list[Client] = []
    tasks = []
    start = time.perf_counter()

    async def one(message: bytes, due: float) -> None:
        client = free.pop() if free else Client(port)
        try:
            measured.note(await client.send(message), due)
            free.append(client)
        except (OSError, asyncio.IncompleteReadError):
            measured.note(0, due)
            await client.close()

    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(messages[number % len(messages)], due)))
    await asyncio.gather(*tasks)
    measured.seconds = time.perf_counter() - start
    for client in free:
        await client.close()
    return measured
