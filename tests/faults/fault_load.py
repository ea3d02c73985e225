"""More than can be done, clients that stall, models that change: on the shipped model, over loopback."""

import asyncio
import json
import socket
import statistics
import time
import urllib.request
from pathlib import Path

import pytest

from benchmarks import corpus
from benchmarks.load import closed, opened, request
from benchmarks.server import Server, running
from service.inference.artifact import Manifest, read_artifact, write_manifest
from service.inference.classifier import Classifier
from service.inference.registry import Registry

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    registry = Registry(ROOT / "models")
    texts = [p.text for p in corpus.held_out(registry.read(registry.current()), ROOT / "labels")]
    return [request(document) for document in corpus.documents(texts, 200)]


def fault_overload_at_four_times_capacity(messages: list[bytes]) -> None:
    # Room for two seconds of work: what is admitted is answered in time, the rest refused at once.
    with running(MAX_WAITING_TOKENS="20000") as service:
        asyncio.run(closed(service.port, messages, clients=8, seconds=2))
        peak = asyncio.run(closed(service.port, messages, clients=16, seconds=8))
        capacity = peak.served / peak.seconds
        before = service.resident_mb()
        flood = asyncio.run(opened(service.port, messages, rate=4 * capacity, seconds=10))
        assert set(flood.statuses) == {200, 429}, flood.statuses
        assert flood.served / flood.seconds >= 0.9 * capacity, (flood.served / flood.seconds, capacity)
        assert flood.percentile(0.99) < 8  # what is admitted is answered well before the deadline
        assert statistics.median(flood.refused) < 0.1
        assert service.resident_mb() < before * 1.15
        after = asyncio.run(closed(service.port, messages, clients=1, seconds=2))
        assert set(after.statuses) == {200}


def fault_clients_that_stall(messages: list[bytes]) -> None:
    with running(BODY_SECONDS="5") as service:
        asyncio.run(closed(service.port, messages, clients=1, seconds=2))
        alone = asyncio.run(closed(service.port, messages, clients=1, seconds=5))
        stalled = [_half_sent(service.port, messages[0]) for _ in range(200)] + [
            _never_reading(service.port, messages) for _ in range(5)
        ]
        beside = asyncio.run(closed(service.port, messages, clients=1, seconds=5))
        assert set(beside.statuses) == {200}
        assert beside.percentile(0.5) < 3 * alone.percentile(0.5)
        time.sleep(6)
        assert all(_given_up(connection) for connection in stalled[:200])
        for connection in stalled:
            connection.close()
        assert set(asyncio.run(closed(service.port, messages, clients=1, seconds=1)).statuses) == {200}


def _half_sent(port: int, message: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(message[: len(message) // 2])
    return connection


def _never_reading(port: int, messages: list[bytes]) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(b"".join(messages[:5]))
    return connection


def _given_up(connection: socket.socket) -> bool:
    """Whether the service answered and closed."""
    connection.settimeout(1)
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return b" 408 " in received.split(b"\r\n", 1)[0]


def fault_two_hundred_swaps_under_load(models_dir: Path, tmp_path: Path) -> None:
    texts = [f"the ministry said on monday that {word} would go on. " * 3 for word in ("talks", "lunch", "grain", "rail")]
    _make_unlike(models_dir / "1.1.0")
    expected = {}
    for version in ("1.0.0", "1.1.0"):
        classifier = Classifier(read_artifact(models_dir / version), threads=1)
        expected[version] = [classifier.classify(text)[0].decision.confidence for text in texts]
    assert expected["1.0.0"] != expected["1.1.0"]
    with running(MODELS_DIR=str(models_dir), LABELS_DIR=str(tmp_path), THREADS="1") as service:
        resident = asyncio.run(_swap_under_load(service, texts, expected, swaps=200))
    early, late = statistics.mean(resident[40:80]), statistics.mean(resident[-40:])
    assert late - early < 15, f"{early:.0f} MB after 40 swaps, {late:.0f} MB after 200"


def _make_unlike(folder: Path) -> None:
    """Give a version confidences of its own, so that every answer tells which one made it; its labels stay."""
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
    weaker = tuple(tuple(weight * 0.05 for weight in row) for row in manifest.decision.single_label)
    write_manifest(
        folder, manifest.model_copy(update={"decision": manifest.decision.model_copy(update={"single_label": weaker})})
    )


async def _swap_under_load(service: Server, texts: list[str], expected: dict[str, list[float]], *, swaps: int) -> list[float]:
    """Resident megabytes after each swap; every answer is checked against the version that it names."""
    going = True
    answered = 0

    async def ask(number: int) -> None:
        nonlocal answered
        while going:
            which = answered % len(texts)
            body = await asyncio.to_thread(_ask, service.port, texts[which])
            assert body["paragraphs"][0]["confidence"] == expected[body["model"]["version"]][which]
            answered += 1

    askers = [asyncio.create_task(ask(n)) for n in range(4)]
    resident = []
    for turn in range(swaps):
        version = ("1.1.0", "1.0.0")[turn % 2]
        assert await asyncio.to_thread(_activate, service.port, version) == 200
        resident.append(service.resident_mb())
    going = False
    await asyncio.gather(*askers)
    assert answered > swaps / 4
    return resident


def _ask(port: int, text: str) -> dict:
    message = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/classify", json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(message, timeout=30) as answer:
        return json.load(answer)


def _activate(port: int, version: str) -> int:
    message = urllib.request.Request(f"http://127.0.0.1:{port}/v1/models/{version}/activate", b"", method="POST")
    with urllib.request.urlopen(message, timeout=30) as answer:
        return answer.status
