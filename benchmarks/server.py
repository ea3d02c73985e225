"""The service as a process of its own, as `make run` starts it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil


@dataclass
class Server:
    port: int
    process: psutil.Process
    ready_after: float  # seconds from its start to the first 200 of /readyz

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def resident_mb(self) -> float:
        return float(self.process.memory_info().rss / 1e6)


@contextmanager
def running(**environment: str) -> Iterator[Server]:
    """A service on a free port of loopback. Raises RuntimeError if it does not become ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env={**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "KEYS_FILE": "", **environment},
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_ready(port, child)
        yield Server(port, psutil.Process(child.pid), time.perf_counter() - start)
    finally:
        child.terminate()
        child.wait(timeout=30)


def _await_ready(port: int, child: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if child.poll() is not None:
            raise RuntimeError(f"the service ended with status {child.returncode}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise RuntimeError("the service did not become ready in a minute")
