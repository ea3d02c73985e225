"""The scheduler and keys under faults: nothing hangs, nothing poisons its neighbours, nothing is open by accident."""

import asyncio
import hashlib
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from fastapi import APIRouter
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Message, Receive, Send

from service import keys, scheduler
from service.access import REQUIRED, check_routes
from service.app import create_app
from service.errors import ApiError
from service.inference.classifier import Classifier
from service.inference.encoder import most_rows
from service.inference.errors import EncoderError
from service.inference.tokens import Window
from service.keys import KeyFile, KeyFileError
from service.metrics import Metrics
from service.middleware import Observed
from service.scheduler import Scheduler
from service.settings import Settings

PLAIN = "the ministry said on monday that talks would go on."


@pytest.fixture
def running() -> Iterator[Scheduler]:
    started = Scheduler(max_waiting_tokens=1000, metrics=Metrics())
    started.start()
    yield started
    started.stop()


class Faulty:
    """A classifier whose network raises, waits or counts as a test wants."""

    def __init__(self, real: Classifier, *, poison: str = "", gate: threading.Event | None = None, hang: float = 0) -> None:
        self._real = real
        self._poison = real.prepare(poison).windows[0][0].ids.tolist() if poison else None
        self._gate = gate
        self._hang = hang
        self.batches: list[int] = []

    def encode(self, windows):
        if self._gate is not None:
            self._gate.wait(10)
        time.sleep(self._hang)
        if any(w.ids.tolist() == self._poison for w in windows):
            raise EncoderError("poisoned")
        self.batches.append(len(windows))
        return self._real.encode(windows)


def windows(classifier: Classifier, text: str = PLAIN):
    return classifier.prepare(text).windows[0]


async def test_requests_fill_whole_batches(running: Scheduler, tiny_classifier: Classifier) -> None:
    """A batch is what the runtime takes in one piece: more would fall apart into it and a rest."""
    gate = threading.Event()
    counting = Faulty(tiny_classifier, gate=gate)
    window = Window(np.full(48, 5), np.zeros(48, dtype=np.int64))
    full = most_rows(48)
    blocking = asyncio.create_task(running.run(counting, windows(tiny_classifier)))
    await asyncio.sleep(0.1)
    tasks = [asyncio.create_task(running.run(counting, [window] * rows)) for rows in (full - 4, full - 4, 8)]
    await asyncio.sleep(0.1)
    gate.set()
    await asyncio.gather(blocking, *tasks)
    assert counting.batches[1:] == [full, full]


async def test_one_bad_window_fails_alone(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, poison="grain hall.", gate=threading.Event())
    jobs = [windows(tiny_classifier), windows(tiny_classifier, "grain hall."), windows(tiny_classifier, "rail city.")]
    tasks = [asyncio.create_task(running.run(faulty, job)) for job in jobs]
    await asyncio.sleep(0.1)
    faulty._gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(r, EncoderError) for r in results] == [False, True, False]


async def test_cancelled_work_is_not_computed_and_the_thread_goes_on(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, gate=threading.Event())
    first = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await asyncio.sleep(0.1)  # the first is in the network; the others wait
    others = [asyncio.create_task(running.run(faulty, windows(tiny_classifier))) for _ in range(50)]
    await asyncio.sleep(0.05)
    for task in others[:49]:
        task.cancel()
    await asyncio.sleep(0.05)
    faulty._gate.set()
    await asyncio.gather(first, others[49])
    assert sum(faulty.batches) == 2


async def test_work_is_admitted_by_tokens_and_refused_at_once(running: Scheduler) -> None:
    running.admit(900)
    with pytest.raises(ApiError) as refused:
        running.admit(200)
    assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "1"})
    running.release(900)
    running.admit(5000)  # larger than the limit, but nothing else waits
    running.release(5000)


async def test_a_short_request_does_not_wait_for_a_long_one(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, gate=threading.Event())
    held = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await asyncio.sleep(0.1)
    long = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier) * 1000))
    short = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier, "rail " * 60)))
    probe = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier, "grain " * 30), first=True))
    finished: list[str] = []
    for name, task in (("long", long), ("short", short), ("probe", probe)):
        task.add_done_callback(lambda _, name=name: finished.append(name))
    await asyncio.sleep(0.1)
    faulty._gate.set()
    await asyncio.gather(held, long, short, probe)
    assert finished == ["probe", "short", "long"]


class Broken(Faulty):
    """Fails as nobody foresaw."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def encode(self, windows):
        raise self._error


async def test_an_unforeseen_failure_is_answered_and_the_thread_goes_on(
    running: Scheduler, tiny_classifier: Classifier, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(EncoderError, match="unforeseen"):
        await asyncio.wait_for(running.run(Broken(MemoryError()), windows(tiny_classifier)), 5)
    assert "unforeseen" in caplog.text
    assert len(await running.run(tiny_classifier, windows(tiny_classifier))) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_fails_what_waits_and_is_not_healthy(tiny_classifier: Classifier) -> None:
    dying = Scheduler(max_waiting_tokens=1000, metrics=Metrics())
    dying.start()
    broken = Broken(SystemExit())
    with pytest.raises(ApiError, match="cannot infer"):
        await asyncio.wait_for(asyncio.gather(*(dying.run(broken, windows(tiny_classifier)) for _ in range(3))), 5)
    dying._thread.join(5)
    assert not dying.healthy
    with pytest.raises(ApiError, match="cannot infer"):
        await dying.run(tiny_classifier, windows(tiny_classifier))


async def test_a_thread_that_hangs_is_not_healthy(running: Scheduler, tiny_classifier: Classifier, monkeypatch) -> None:
    monkeypatch.setattr(scheduler, "HUNG_AFTER_SECONDS", 0.1)
    faulty = Faulty(tiny_classifier, hang=0.6)
    task = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await asyncio.sleep(0.4)
    assert not running.healthy
    await task
    await asyncio.sleep(0.1)
    assert running.healthy


def test_a_hanging_model_meets_the_deadline_and_readiness_says_so(settings: Settings, monkeypatch) -> None:
    app = create_app(settings.model_copy(update={"deadline_seconds": 0.3}))
    monkeypatch.setattr(scheduler, "HUNG_AFTER_SECONDS", 0.2)
    with TestClient(app) as client:
        gate = threading.Event()
        real = app.state.host.classifier

        class Hanging(Faulty):
            prepare = real.prepare
            finish = real.finish
            artifact = real.artifact

        app.state.host.classifier = Hanging(real, gate=gate)
        answer = client.post("/v1/classify", json={"text": "the rail"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        gate.set()


def test_overload_is_refused_and_passes(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_waiting_tokens": 100}))
    with TestClient(app) as client:
        app.state.scheduler.admit(100)
        answer = client.post("/v1/classify", json={"text": "the rail"})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        app.state.scheduler.release(100)
        assert client.post("/v1/classify", json={"text": "the rail"}).status_code == 200


def test_admitted_tokens_are_given_back_whatever_happens(client: TestClient) -> None:
    for body in ({"text": PLAIN}, {"text": ""}, {"text": "a\x00"}):
        client.post("/v1/classify", json=body)
    client.post("/v1/classify/batch", json={"documents": [{"text": ""}, {"text": PLAIN}, 1]})
    assert "paraframe_waiting_tokens 0.0" in client.get("/metrics").text


def test_no_answer_mixes_versions_while_models_are_swapped(client: TestClient, models_dir: Path) -> None:
    expected = {}
    for version in ("1.1.0", "1.0.0"):
        client.post(f"/v1/models/{version}/activate")
        expected[version] = client.post("/v1/classify", json={"text": PLAIN * 3}).json()
    assert expected["1.0.0"]["paragraphs"] != expected["1.1.0"]["paragraphs"]
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for version in ("1.1.0", "1.0.0"):
                client.post(f"/v1/models/{version}/activate")

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        answers = [client.post("/v1/classify", json={"text": PLAIN * 3}) for _ in range(100)]
    finally:
        stop.set()
        thread.join()
    assert {a.status_code for a in answers} == {200}
    assert all(a.json() == expected[a.json()["model"]["version"]] for a in answers)


def test_a_body_that_comes_too_slowly_is_given_up(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"body_seconds": 0.2}))

    async def never() -> Message:
        await asyncio.sleep(10)
        raise AssertionError

    assert asyncio.run(_post(app, never))[0]["status"] == 408


async def _post(
    app: ASGIApp, receive: Receive | None = None, *, key: bytes = b"", sent: list[Message] | None = None
) -> list[Message]:
    """What the application sends to a client of this key whose body `receive` gives; into `sent` as it comes."""
    messages: list[Message] = [] if sent is None else sent

    async def send(message: Message) -> None:
        messages.append(message)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/v1/classify", "query_string": b"", "headers": [(b"x-api-key", key)]}
    await app(scope, receive or gone, send)
    return messages


SECRETS = {"reader": "read", "labeller": "label", "boss": "admin", "all": "read,label,admin"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.txt"
    lines = [f"{name} {scopes} {hashlib.sha256(name.encode()).hexdigest()}" for name, scopes in SECRETS.items()]
    path.write_text("# keys\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture
def guarded(settings: Settings, key_file: Path) -> Iterator[TestClient]:
    with TestClient(create_app(settings.model_copy(update={"keys_file": key_file}))) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), REQUIRED)
def test_every_route_against_every_scope(guarded: TestClient, method: str, path: str) -> None:
    needed = REQUIRED[method, path]
    target = path.replace("{version}", "1.0.0")
    for name, scopes in [("", ""), ("wrong", ""), *SECRETS.items()]:
        status = guarded.request(method, target, headers={"Authorization": f"Bearer {name}"}).status_code
        if needed is None or needed in scopes.split(","):
            assert status not in (401, 403)
        else:
            assert status == (403 if name in SECRETS else 401)


@pytest.mark.parametrize(("key", "reads"), [(b"wrong", 0), (b"reader", 1)])
def test_a_body_without_a_known_key_is_not_read(settings: Settings, key_file: Path, key: bytes, reads: int) -> None:
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.disconnect"}

    app = create_app(settings.model_copy(update={"keys_file": key_file}))
    sent = asyncio.run(_post(app, receive, key=key))
    assert asked == reads
    assert [message.get("status") for message in sent[:1]] == ([401] if key == b"wrong" else [])


def test_an_answer_that_breaks_off_ends_the_connection() -> None:
    sent: list[Message] = []

    async def breaks_off(_scope: object, _receive: object, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):  # which the server answers by closing
        asyncio.run(_post(Observed(breaks_off, metrics=Metrics()), sent=sent))
    assert [message["type"] for message in sent] == ["http.response.start"]


def test_a_route_without_a_rule_does_not_start(settings: Settings) -> None:
    app = create_app(settings)
    router = APIRouter()
    router.add_api_route("/v1/new", lambda: None)
    app.include_router(router)
    with pytest.raises(LookupError, match="GET /v1/new"):
        check_routes(app)


def test_keys_rotate_without_a_restart(guarded: TestClient, key_file: Path) -> None:
    def ask(key: str) -> int:
        return guarded.get("/v1/models", headers={"X-API-Key": key}).status_code

    assert (ask("reader"), ask("new")) == (200, 401)
    key_file.write_text(f"new read {hashlib.sha256(b'new').hexdigest()}\n")
    assert (ask("reader"), ask("new")) == (401, 200)
    key_file.unlink()
    assert ask("new") == 503


def test_a_new_key_works_and_its_secret_is_not_in_the_file(tmp_path: Path) -> None:
    line, secret = io.StringIO(), io.StringIO()
    with redirect_stdout(line), redirect_stderr(secret):
        assert keys.main(["desk", "read,label"]) == 0
    path = tmp_path / "keys.txt"
    path.write_text(line.getvalue())
    found = KeyFile(path).find(secret.getvalue().strip())
    assert found is not None
    assert (found.name, found.scopes) == ("desk", {"read", "label"})
    assert secret.getvalue().strip() not in line.getvalue()


@pytest.mark.parametrize("line", ["desk read", "desk write " + "0" * 64, "desk read abc", "desk read " + "é" * 64])
def test_a_broken_key_file_names_the_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys.txt"
    path.write_text(f"\n{line}\n")
    with pytest.raises(KeyFileError, match=r"keys\.txt:2"):
        KeyFile(path)


def test_a_line_that_is_no_key_leaves_the_keys_as_they_were(guarded: TestClient, key_file: Path) -> None:
    before = key_file.read_bytes()
    for broken in (b"desk read", b"desk read " + "é".encode() * 64, b"# caf\xe9"):
        key_file.write_bytes(before + broken + b"\n")
        assert guarded.get("/v1/model", headers={"X-API-Key": "reader"}).status_code == 200
    key_file.unlink()
    assert guarded.get("/v1/model", headers={"X-API-Key": "reader"}).status_code == 503


def test_a_service_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELS_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "no model is served" in ended.stderr
    assert "Traceback" not in ended.stderr
