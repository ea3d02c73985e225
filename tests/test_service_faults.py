"""The scheduler and keys under faults: nothing hangs, nothing poisons its neighbours, nothing is open by accident."""

import asyncio
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
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
    """A classifier whose network raises, waits or counts as a test wants; it says when it was entered."""

    def __init__(self, real: Classifier, *, poison: str = "", gate: threading.Event | None = None) -> None:
        self._real = real
        self._poison = real.prepare(poison).windows[0][0].ids.tolist() if poison else None
        self._gate = gate
        self.entered = threading.Event()
        self.batches: list[int] = []

    def __getattr__(self, name: str):
        return getattr(self._real, name)

    def encode(self, windows):
        self.entered.set()
        if self._gate is not None:
            self._gate.wait(20)
        if any(w.ids.tolist() == self._poison for w in windows):
            raise EncoderError("poisoned")
        self.batches.append(len(windows))
        return self._real.encode(windows)


class Unhurried(Faulty):
    """It cuts a long text only when the gate opens."""

    def prepare(self, text: str):
        if len(text) > 100:
            self.entered.set()
            self._gate.wait(20)
        return self._real.prepare(text)

    def encode(self, windows):
        return self._real.encode(windows)


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await asyncio.sleep(0.005)


async def queued(running: Scheduler, jobs: int) -> None:
    """While the network is held, what it holds is still in the queue."""
    await until(lambda: len(running._queue) == jobs)


def windows(classifier: Classifier, text: str = PLAIN):
    return classifier.prepare(text).windows[0]


async def test_requests_fill_whole_batches(running: Scheduler, tiny_classifier: Classifier) -> None:
    """A batch is what the runtime takes in one piece: more would fall apart into it and a rest."""
    gate = threading.Event()
    counting = Faulty(tiny_classifier, gate=gate)
    window = Window(np.full(48, 5), np.zeros(48, dtype=np.int64))
    full = most_rows(48)
    blocking = asyncio.create_task(running.run(counting, windows(tiny_classifier)))
    await until(counting.entered.is_set)
    tasks = [asyncio.create_task(running.run(counting, [window] * rows)) for rows in (full - 4, full - 4, 8)]
    await queued(running, 4)
    gate.set()
    await asyncio.gather(blocking, *tasks)
    assert counting.batches[1:] == [full, full]


async def test_one_bad_window_fails_alone(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, poison="grain hall.", gate=threading.Event())
    jobs = [windows(tiny_classifier), windows(tiny_classifier, "grain hall."), windows(tiny_classifier, "rail city.")]
    tasks = [asyncio.create_task(running.run(faulty, job)) for job in jobs]
    await queued(running, 3)
    faulty._gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(r, EncoderError) for r in results] == [False, True, False]


async def test_cancelled_work_is_not_computed_and_the_thread_goes_on(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, gate=threading.Event())
    first = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await until(faulty.entered.is_set)  # the first is in the network; the others wait
    others = [asyncio.create_task(running.run(faulty, windows(tiny_classifier))) for _ in range(50)]
    await queued(running, 51)
    for task in others[:49]:
        task.cancel()
    await asyncio.wait(others[:49])
    faulty._gate.set()
    await asyncio.gather(first, others[49])
    assert sum(faulty.batches) == 2


async def test_work_is_admitted_by_tokens_and_refused_at_once(running: Scheduler) -> None:
    with running.admitted(400), running.admitted(400):
        with pytest.raises(ApiError) as refused, running.admitted(300):
            pass
        assert (refused.value.status_code, refused.value.headers) == (429, {"Retry-After": "1"})
        with running.admitted(200):
            pass
    with running.admitted(5000), running.admitted(400):  # half of the room is left beside one larger than all of it
        pass
    assert running._admitted_tokens == 0


async def test_a_short_request_does_not_wait_for_a_long_one(running: Scheduler, tiny_classifier: Classifier) -> None:
    faulty = Faulty(tiny_classifier, gate=threading.Event())
    held = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await until(faulty.entered.is_set)
    long = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier) * 1000))
    short = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier, "rail " * 60)))
    probe = asyncio.create_task(running.run(tiny_classifier, windows(tiny_classifier, "grain " * 30), first=True))
    finished: list[str] = []
    for name, task in (("long", long), ("short", short), ("probe", probe)):
        task.add_done_callback(lambda _, name=name: finished.append(name))
    await queued(running, 4)
    faulty._gate.set()
    await asyncio.gather(held, long, short, probe)
    assert finished == ["probe", "short", "long"]


class Broken(Faulty):
    """Fails as nobody foresaw."""

    def __init__(self, real: Classifier, error: BaseException) -> None:
        super().__init__(real)
        self._error = error

    def encode(self, windows):
        raise self._error


async def test_an_unforeseen_failure_is_answered_and_the_thread_goes_on(
    running: Scheduler, tiny_classifier: Classifier
) -> None:
    with pytest.raises(EncoderError, match="unforeseen") as failure:
        await asyncio.wait_for(running.run(Broken(tiny_classifier, MemoryError()), windows(tiny_classifier)), 5)
    assert isinstance(failure.value.__cause__, MemoryError)
    assert len(await running.run(tiny_classifier, windows(tiny_classifier))) == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_fails_what_waits_and_is_not_healthy(tiny_classifier: Classifier) -> None:
    dying = Scheduler(max_waiting_tokens=1000, metrics=Metrics())
    dying.start()
    broken = Broken(tiny_classifier, SystemExit())
    with pytest.raises(ApiError, match="cannot infer"):
        await asyncio.wait_for(asyncio.gather(*(dying.run(broken, windows(tiny_classifier)) for _ in range(3))), 5)
    dying._thread.join(5)
    assert not dying.healthy
    with pytest.raises(ApiError, match="cannot infer"):
        await dying.run(tiny_classifier, windows(tiny_classifier))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_batch_that_meets_a_dead_thread_is_refused_as_a_whole(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        real = app.state.host.classifier
        app.state.host.classifier = Broken(real, SystemExit())
        assert client.post("/v1/classify", json={"text": "the rail"}).status_code == 503
        app.state.host.classifier = real
        answer = client.post("/v1/classify/batch", json={"documents": [{"text": "the rail"}, {"text": "the grain"}]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")


async def test_a_thread_that_hangs_is_not_healthy(running: Scheduler, tiny_classifier: Classifier, monkeypatch) -> None:
    monkeypatch.setattr(scheduler, "HUNG_AFTER_SECONDS", 0)
    faulty = Faulty(tiny_classifier, gate=threading.Event())
    assert running.healthy
    task = asyncio.create_task(running.run(faulty, windows(tiny_classifier)))
    await until(faulty.entered.is_set)
    assert not running.healthy
    faulty._gate.set()
    await task
    await until(lambda: running.healthy)


def test_a_hanging_model_meets_the_deadline_and_readiness_says_so(settings: Settings, monkeypatch) -> None:
    app = create_app(settings.model_copy(update={"deadline_seconds": 0.3}))
    monkeypatch.setattr(scheduler, "HUNG_AFTER_SECONDS", 0)
    with TestClient(app) as client:
        gate = threading.Event()
        app.state.host.classifier = Faulty(app.state.host.classifier, gate=gate)
        answer = client.post("/v1/classify", json={"text": "the rail"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "deadline_exceeded")
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert "paraframe_waiting_tokens 0.0" in client.get("/metrics").text
        gate.set()


def test_a_failure_of_the_network_is_for_the_log_and_not_for_the_client(settings: Settings, caplog) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        real = app.state.host.classifier
        app.state.host.classifier = Faulty(real, poison="grain hall.")
        answer = client.post("/v1/classify", json={"text": "grain hall."})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "inference_failed")
        assert answer.headers["retry-after"] == "1"
        assert "poisoned" not in answer.text
        assert [(r.levelname, r.message.count("poisoned")) for r in caplog.records if "poisoned" in r.message] == [("ERROR", 1)]
        bad, good = client.post("/v1/classify/batch", json={"documents": [{"text": "grain hall."}, {"text": PLAIN}]}).json()[
            "results"
        ]
        assert (bad["error"]["code"], "poisoned" in str(bad), len(good["paragraphs"])) == ("inference_failed", False, 1)
        app.state.host.classifier = Broken(real, MemoryError("of some kind"))
        assert client.post("/v1/classify", json={"text": PLAIN}).json()["error"]["code"] == "inference_failed"
        assert caplog.text.count("MemoryError: of some kind") == 1


def test_a_small_request_is_answered_while_a_very_large_one_runs(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_waiting_tokens": 100}))
    with TestClient(app) as client, ThreadPoolExecutor(1) as pool:
        gate = threading.Event()
        app.state.host.classifier = slow = Unhurried(app.state.host.classifier, gate=gate)
        large = pool.submit(client.post, "/v1/classify", json={"text": PLAIN * 100})
        assert slow.entered.wait(20)
        assert client.post("/v1/classify", json={"text": PLAIN}).status_code == 200
        gate.set()
        assert large.result().status_code == 200


async def test_what_a_thread_still_works_on_after_the_deadline_keeps_its_room_until_then(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"deadline_seconds": 0.2}))
    async with app.router.lifespan_context(app):
        gate = threading.Event()
        app.state.host.classifier = Unhurried(app.state.host.classifier, gate=gate)
        (start, *_) = await _post(app, _sender({"text": PLAIN * 100}))
        assert start["status"] == 503
        for _ in range(10):  # turns of the loop, in which what was cancelled would end
            await asyncio.sleep(0)
        assert app.state.scheduler._admitted_tokens > 0
        gate.set()
        await until(lambda: app.state.scheduler._admitted_tokens == 0)


async def test_when_the_client_goes_its_work_leaves_the_queue(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        running = app.state.scheduler
        app.state.host.classifier = faulty = Faulty(app.state.host.classifier, gate=threading.Event())
        first = asyncio.create_task(running.run(faulty, windows(faulty)))
        await until(faulty.entered.is_set)
        (start, *_) = await _post(app, _sender({"text": PLAIN}, then=queued(running, 2)))
        assert start["status"] == 499
        await until(lambda: running._admitted_tokens == 0)
        faulty._gate.set()
        await first
        await running.run(faulty, windows(faulty))
        assert sum(faulty.batches) == 2


def test_overload_is_refused_and_passes(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_waiting_tokens": 100}))
    with TestClient(app) as client:
        with app.state.scheduler.admitted(50), app.state.scheduler.admitted(50):
            answer = client.post("/v1/classify", json={"text": "the rail"})
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
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
        answers = []
        served = set()
        while len(answers) < 100 or (len(served) < 2 and len(answers) < 10_000):
            answers.append(client.post("/v1/classify", json={"text": PLAIN * 3}))
            served.add(answers[-1].json()["model"]["version"])
    finally:
        stop.set()
        thread.join()
    assert served == set(expected)
    assert all(a.json() == expected[a.json()["model"]["version"]] for a in answers)


def test_a_body_that_comes_too_slowly_is_given_up(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"body_seconds": 0.2}))

    async def never() -> Message:
        await asyncio.sleep(10)
        raise AssertionError

    assert asyncio.run(_post(app, never))[0]["status"] == 408


async def _post(
    app: ASGIApp,
    receive: Receive | None = None,
    *,
    target: tuple[str, str] = ("POST", "/v1/classify"),
    key: bytes = b"",
    sent: list[Message] | None = None,
) -> list[Message]:
    """What the application sends to a client of this key whose body `receive` gives; into `sent` as it comes."""
    messages: list[Message] = [] if sent is None else sent

    async def send(message: Message) -> None:
        messages.append(message)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    method, path = target
    headers = [(b"x-api-key", key), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    await app(scope, receive or gone, send)
    return messages


def _sender(body: object, *, then: Coroutine[object, object, None] | None = None) -> Receive:
    """A client that sends this body, and goes after `then`; never, without."""
    messages: list[Message] = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await (then or asyncio.Event().wait())
        return {"type": "http.disconnect"}

    return receive


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


@pytest.mark.parametrize(
    ("method", "path", "key", "reads"),
    [
        ("POST", "/v1/classify", b"wrong", 0),
        ("POST", "/v1/classify", b"reader", 1),
        ("GET", "/v1/model", b"wrong", 0),
        ("GET", "/v1/model", b"reader", 0),
        ("HEAD", "/v1/model", b"wrong", 0),
    ],
)
def test_no_body_is_read_that_is_not_asked_for(
    settings: Settings, key_file: Path, method: str, path: str, key: bytes, reads: int
) -> None:
    asked = 0

    async def receive() -> Message:
        nonlocal asked
        asked += 1
        return {"type": "http.disconnect"}

    app = create_app(settings.model_copy(update={"keys_file": key_file}))
    sent = asyncio.run(_post(app, receive, target=(method, path), key=key))
    assert asked == reads
    status = {"POST": 401, "GET": 401, "HEAD": 405}[method] if key == b"wrong" else 200
    assert [message.get("status") for message in sent[:1]] == ([] if reads else [status])


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


def test_every_fault_of_the_key_file_is_logged_once_also_when_it_comes_again(key_file: Path, caplog) -> None:
    file = KeyFile(key_file)
    good = key_file.read_bytes()
    for _ in range(2):
        key_file.write_bytes(good + b"desk read\n")
        for _ in range(3):
            assert file.find("reader") is not None
        key_file.write_bytes(good)
        assert file.find("reader") is not None
    assert caplog.text.count("keeping the keys as they were") == 2
    key_file.unlink()
    for _ in range(3):
        with pytest.raises(KeyFileError):
            file.find("reader")
    assert caplog.text.count("no key is known") == 1


def test_a_service_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "MODELS_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-m", "service"], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "no model is served" in ended.stderr
    assert "Traceback" not in ended.stderr
