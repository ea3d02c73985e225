"""The service as its users meet it."""

import asyncio
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service import routes
from service.app import create_app
from service.feedback import FeedbackStore
from service.host import ModelHost
from service.inference.registry import Registry
from service.metrics import Metrics
from service.scheduler import Scheduler
from service.settings import Settings, SettingsError
from service.work import Labeller
from training.labels import read_file

TEXT = "The talks about grain would go on. The city hall said puppets.\n\n  Perhaps the rail is classified. 😀"


def test_classify_has_the_shape_of_the_contract(client: TestClient) -> None:
    request = {"text": TEXT, "id": "a", "source": "s", "date": "2025-08-22", "metadata": {"k": [1, None, "é"]}}
    answer = client.post("/v1/classify", json=request)
    assert answer.status_code == 200
    body = answer.json()
    assert list(body) == ["id", "source", "date", "metadata", "model", "language", "paragraphs", "summary", "warnings"]
    assert {key: body[key] for key in ("id", "source", "date", "metadata")} == {k: v for k, v in request.items() if k != "text"}
    assert set(body["model"]) == {"name", "version", "sha256"}
    for index, paragraph in enumerate(body["paragraphs"]):
        assert paragraph["index"] == index
        assert TEXT[paragraph["start"] : paragraph["end"]] == paragraph["text"]
        assert list(paragraph) == [
            "index", "start", "end", "text", "label", "confidence", "unsure", "labels", "voice", "scores", "evidence", "truncated",
        ]  # fmt: skip
        for evidence in paragraph["evidence"]:
            assert TEXT[evidence["start"] : evidence["end"]] == evidence["text"]
            assert set(evidence) == {"start", "end", "text", "label", "score", "voice"}
    counts = body["summary"]["counts"]
    assert sum(not p["labels"] for p in body["paragraphs"]) == counts["none"]
    assert body["summary"]["paragraphs"] == len(body["paragraphs"]) == 2


def test_what_it_learned_is_what_it_says(client: TestClient) -> None:
    paragraph = client.post("/v1/classify", json={"text": "the rail puppets on monday."}).json()["paragraphs"][0]
    assert paragraph["label"] == "enemy_attribution"
    assert paragraph["evidence"][0]["label"] == "enemy_attribution"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 422, "invalid_request"),
        (b"[]", 422, "invalid_request"),
        (b'{"text": ""}', 422, "unprocessable_text"),
        (b'{"text": " \\n "}', 422, "unprocessable_text"),
        (b'{"text": "a\\u0000b"}', 422, "unprocessable_text"),
        (b'{"text": "\\ud800"}', 400, "invalid_json"),
        (b'{"text": "\xff"}', 400, "invalid_json"),
        (b'{"text": "x", "metadata": {"n": NaN}}', 400, "invalid_json"),
        (b'{"text": "x", "metadata": {"n": 1e999}}', 422, "invalid_request"),
        (b'{"text": 5}', 422, "invalid_request"),
        (b'{"text": "x", "surprise": 1}', 422, "invalid_request"),
        (b'{"text": "x", "id": {}}', 422, "invalid_request"),
        (b'{"text"', 400, "invalid_json"),
        (b"[" * 100_000, 400, "invalid_json"),
    ],
)
def test_bad_bodies_get_a_clear_error(client: TestClient, body: bytes, status: int, code: str) -> None:
    answer = client.post("/v1/classify", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "details"}


def test_other_errors_have_the_same_shape(client: TestClient) -> None:
    answers = [
        (client.get("/nowhere"), 404),
        (client.put("/v1/classify"), 405),
        (client.post("/v1/classify", content=b"text", headers={"Content-Type": "text/plain"}), 415),
        (client.post("/v1/classify", content=b"x", headers={"Content-Encoding": "gzip"}), 415),
        (client.post("/v1/models/9.9.9/activate"), 404),
        (client.post("/v1/feedback", json={"text": "x", "labels": ["villain"]}), 422),
        (client.post("/v1/feedback", json={"text": "x", "labels": ["speculation"], "voice": {"hero_framing": "own"}}), 422),
    ]
    for answer, status in answers:
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"code", "message", "details"}


def test_limits_are_enforced_before_work_is_done(settings: Settings) -> None:
    tight = settings.model_copy(update={"max_body_bytes": 300, "max_text_chars": 50, "max_batch_documents": 2})
    with TestClient(create_app(tight)) as client:
        assert client.post("/v1/classify", content=b"x" * 301).status_code == 413
        assert client.post("/v1/classify", content=iter([b"x" * 200, b"x" * 200])).status_code == 413
        for path, more in (("/v1/classify", {}), ("/v1/feedback", {"labels": []})):
            answer = client.post(path, json={"text": "a " * 26, **more})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "text_too_long")
        assert client.post("/v1/classify/batch", json={"documents": [1, 2, 3]}).json()["error"]["code"] == "batch_too_long"
        assert client.post("/v1/classify", json={"text": "the rail"}).status_code == 200


def test_a_text_that_is_too_long_is_told_so_even_under_overload(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"max_text_chars": 50, "max_waiting_tokens": 10}))
    with TestClient(app) as client, app.state.scheduler.admitted(5), app.state.scheduler.admitted(5):
        assert client.post("/v1/classify", json={"text": "a " * 26}).status_code == 413
        assert client.post("/v1/classify", json={"text": "a " * 25}).status_code == 429
        (result,) = client.post("/v1/classify/batch", json={"documents": [{"text": "a " * 26}]}).json()["results"]
        assert result["error"]["code"] == "text_too_long"


def test_a_bad_document_fails_alone_in_its_place(client: TestClient) -> None:
    documents = [{"text": "the rail.", "id": "1"}, {"text": ""}, 3, {"text": "x", "foo": 1}, {"text": "the hall.", "id": "5"}]
    results = client.post("/v1/classify/batch", json={"documents": documents}).json()["results"]
    assert [r.get("id") for r in results] == ["1", None, None, None, "5"]
    codes = [r["error"]["code"] for r in results if "error" in r]
    assert codes == ["unprocessable_text", "invalid_request", "invalid_request"]


def test_batch_and_single_give_the_same_answer(client: TestClient) -> None:
    single = client.post("/v1/classify", json={"text": TEXT}).json()
    batch = client.post("/v1/classify/batch", json={"documents": [{"text": "the hall. " * 400}, {"text": TEXT}]}).json()
    assert batch["results"][1] == single


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=300))
def test_no_text_makes_a_server_error(client: TestClient, text: str) -> None:
    answer = client.post("/v1/classify", content=json.dumps({"text": text}), headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 422)
    if answer.status_code == 200:
        spans = [(p["start"], p["end"]) for p in answer.json()["paragraphs"]]
        inside = set().union(*(range(*span) for span in spans))
        assert all(i in inside or c.isspace() for i, c in enumerate(text))


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200))
def test_no_bytes_make_a_server_error(client: TestClient, body: bytes) -> None:
    for path in ("/v1/classify", "/v1/classify/batch", "/v1/feedback"):
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422)


def test_feedback_is_stored_where_training_reads_it(client: TestClient, settings: Settings) -> None:
    sent = {"text": "A line\nand “another”.", "labels": ["speculation"], "voice": {"speculation": "own"}, "annotator": "kim"}
    answer = client.post("/v1/feedback", json=sent)
    assert answer.status_code == 201
    client.post("/v1/feedback", json={"text": "Nothing here.", "labels": ["none"]})
    labels = client.get("/v1/model").json()["labels"]
    path = settings.labels_dir / "feedback" / "feedback.jsonl"
    first, second = (example for _, example in read_file(path, labels=labels))
    assert (first.id, first.text, first.labels, first.voice) == (
        answer.json()["id"], sent["text"], ("speculation",), {"speculation": "own"},
    )  # fmt: skip
    assert second.labels == ()


def test_a_line_that_a_crash_left_half_written_is_cut_off(client: TestClient, settings: Settings) -> None:
    client.post("/v1/feedback", json={"text": "One.", "labels": []})
    path = settings.labels_dir / "feedback" / "feedback.jsonl"
    with path.open("ab") as file:
        file.write(b'{"id": "x", "te')
    client.post("/v1/feedback", json={"text": "Two.", "labels": []})
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["One.", "Two."]


def test_a_line_that_an_editor_left_without_its_break_stays(client: TestClient, settings: Settings) -> None:
    client.post("/v1/feedback", json={"text": "One.", "labels": []})
    path = settings.labels_dir / "feedback" / "feedback.jsonl"
    path.write_text(path.read_text().rstrip())
    client.post("/v1/feedback", json={"text": "Two.", "labels": []})
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["One.", "Two."]


def test_feedback_that_cannot_be_stored_is_not_acknowledged(client: TestClient, settings: Settings, caplog) -> None:
    settings.labels_dir.write_text("a file where a folder should be")
    answer = client.post("/v1/feedback", json={"text": "One.", "labels": []})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "storage_unavailable")
    assert "directory" not in answer.text
    assert caplog.text.count("Not a directory") == 1
    assert client.post("/v1/classify", json={"text": "the rail"}).status_code == 200


def test_a_disk_that_takes_only_a_part_of_a_label_acknowledges_nothing(
    client: TestClient, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.post("/v1/feedback", json={"text": "One.", "labels": []})
    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:20], at))
        assert client.post("/v1/feedback", json={"text": "Two.", "labels": []}).status_code == 503
    assert client.post("/v1/feedback", json={"text": "Three.", "labels": []}).status_code == 201
    lines = (settings.labels_dir / "feedback" / "feedback.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["One.", "Three."]


def test_activating_what_is_served_repairs_the_pointer(client: TestClient, models_dir: Path) -> None:
    (models_dir / "1.1.0" / "model.bin").write_bytes(b"broken")
    (models_dir / "current.json").write_text('{"current": "1.1.0", "previous": ["1.0.0"]}')
    assert client.post("/v1/models/1.0.0/activate").status_code == 200
    assert Registry(models_dir).current() == "1.0.0"


def test_a_pointer_that_cannot_be_written_is_for_the_log_and_changes_nothing(
    client: TestClient, models_dir: Path, caplog
) -> None:
    (models_dir / "current.json").unlink()
    (models_dir / "current.json").mkdir()
    answer = client.post("/v1/models/1.1.0/activate")
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert "current.json" not in answer.text
    assert caplog.text.count("current.json cannot be written") == 1
    assert client.get("/v1/model").json()["version"] == "1.0.0"


def test_whatever_goes_wrong_with_one_version_the_next_one_is_followed(
    settings: Settings, models_dir: Path, monkeypatch, caplog
) -> None:
    host = ModelHost(Registry(models_dir), threads=1, metrics=Metrics())

    def fails(version: str) -> None:
        raise KeyError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(host, "_ready", fails)
        Registry(models_dir).promote("1.1.0")
        host._follow()
        host._follow()
    assert host.classifier.artifact.version == "1.0.0"
    assert caplog.text.count("odd") == 1
    Registry(models_dir).promote("1.0.0")
    Registry(models_dir).promote("1.1.0")
    host._follow()
    assert host.classifier.artifact.version == "1.1.0"


def test_an_unforeseen_failure_has_the_same_shape_and_is_counted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog
) -> None:
    monkeypatch.setattr(FeedbackStore, "append", lambda self, example: 1 / 0)
    answer = client.post("/v1/feedback", json={"text": "One.", "labels": []})
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "ZeroDivisionError" in caplog.text
    assert 'route="/v1/feedback",status="500"' in client.get("/metrics").text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8000"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "rebound.example.org"}, 403),
        ({"Host": "10.0.0.7"}, 200),
        ({"Host": "10.0.0.7", "Origin": "http://10.0.0.7:3000"}, 200),
        ({"Host": "10.0.0.7", "Origin": "http://10.0.0.8"}, 403),
        ({"Origin": "https://example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "rebound.example.org", "Origin": "http://rebound.example.org"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, 200),
        (
            {"Host": "127.0.0.1", "Origin": "http://localhost:3000", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"},
            200,
        ),
    ],
)
def test_without_keys_pages_of_other_sites_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    answer = client.post("/v1/models/1.1.0/activate", headers=headers)
    assert answer.status_code == status
    assert "content-security-policy" in answer.headers


def test_a_name_of_the_service_s_own_is_allowed(settings: Settings) -> None:
    for allowed in ("desk.example.org,other.example.org", "other.example.org, Desk.Example.org", "*"):
        with TestClient(create_app(settings.model_copy(update={"allowed_hosts": allowed}))) as client:
            assert client.get("/v1/model", headers={"Host": "desk.example.org"}).status_code == 200


def test_whoever_asks_for_readiness_meanwhile_shares_one_probe(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = probes = 0
    probe, run = Labeller.probe, Scheduler.run

    async def asking(self, classifier):
        nonlocal asked
        asked += 1
        await probe(self, classifier)

    async def running(self, classifier, windows, *, first=False):
        nonlocal probes
        probes += first
        while asked < 10:
            await asyncio.sleep(0.01)
        return await run(self, classifier, windows, first=first)

    monkeypatch.setattr(Labeller, "probe", asking)
    monkeypatch.setattr(Scheduler, "run", running)
    monkeypatch.setattr(routes, "_PROBE_SECONDS", 20)
    with ThreadPoolExecutor(10) as pool:
        assert {answer.status_code for answer in pool.map(lambda _: client.get("/readyz"), range(10))} == {200}
    assert probes == 1


def test_a_broken_pointer_is_repaired_by_promoting(models_dir: Path) -> None:
    (models_dir / "current.json").write_text("{")
    Registry(models_dir).promote("1.1.0")
    assert Registry(models_dir).current() == "1.1.0"


def test_a_version_that_was_refused_is_tried_again_when_promoted_again(models_dir: Path) -> None:
    host = ModelHost(Registry(models_dir), threads=1, metrics=Metrics())
    whole = (models_dir / "1.1.0" / "model.bin").read_bytes()
    Registry(models_dir).promote("1.1.0")
    (models_dir / "1.1.0" / "model.bin").write_bytes(b"half")
    host._follow()
    assert host.classifier.artifact.version == "1.0.0"
    (models_dir / "1.1.0" / "model.bin").write_bytes(whole)
    host._follow()
    assert host.classifier.artifact.version == "1.0.0"
    Registry(models_dir).promote("1.1.0")
    host._follow()
    assert host.classifier.artifact.version == "1.1.0"


def test_details_of_errors_are_bounded(client: TestClient) -> None:
    answer = client.post("/v1/classify", json={"text": "x", **{f"field{n}": 1 for n in range(5000)}})
    assert answer.status_code == 422
    assert len(answer.json()["error"]["details"]) == 20


def test_models_are_told_and_swapped(client: TestClient, models_dir: Path) -> None:
    told = client.get("/v1/model").json()
    assert (told["version"], set(told["thresholds"])) == ("1.0.0", set(told["labels"]))
    assert [label["id"] for label in told["codebook"]["labels"]] == told["labels"]
    assert client.get("/v1/models").json()["models"] == [
        {"version": "1.0.0", "current": True},
        {"version": "1.1.0", "current": False},
    ]
    assert client.post("/v1/models/1.1.0/activate").status_code == 200
    assert client.get("/v1/model").json()["version"] == "1.1.0"
    assert Registry(models_dir).current() == "1.1.0"


def test_a_failed_swap_keeps_the_old_model(client: TestClient, models_dir: Path) -> None:
    (models_dir / "1.1.0" / "model.bin").write_bytes(b"broken")
    answer = client.post("/v1/models/1.1.0/activate")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "artifact_refused")
    assert client.get("/v1/model").json()["version"] == "1.0.0"
    assert client.post("/v1/classify", json={"text": "the rail"}).json()["model"]["version"] == "1.0.0"


def test_promotion_on_the_command_line_is_served_without_a_restart(client: TestClient, models_dir: Path) -> None:
    Registry(models_dir).promote("1.1.0")
    changed = threading.Event()

    def watch() -> None:
        while client.get("/v1/model").json()["version"] != "1.1.0":
            pass
        changed.set()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    assert changed.wait(20)


def test_a_version_that_fails_its_golden_texts_is_not_served(client: TestClient, models_dir: Path) -> None:
    from service.inference.artifact import Manifest, write_manifest

    folder = models_dir / "1.1.0"
    golden = json.loads((folder / "golden.json").read_text())
    golden[0]["labels"] = [] if golden[0]["labels"] else ["speculation"]
    (folder / "golden.json").write_text(json.dumps(golden))
    write_manifest(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes()))
    assert client.post("/v1/models/1.1.0/activate").status_code == 409
    assert client.get("/v1/model").json()["version"] == "1.0.0"


def test_health_readiness_and_metrics(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ok"}
    client.post("/v1/classify", json={"text": "the rail"})
    text = client.get("/metrics").text
    assert 'paraframe_requests_total{route="/v1/classify",status="200"} 1.0' in text
    assert 'paraframe_model{sha256="' in text


def test_what_is_refused_before_it_has_a_route_is_counted_by_its_path_if_there_is_such_a_route(client: TestClient) -> None:
    client.post("/v1/classify", content=b"x", headers={"Content-Encoding": "gzip"})
    client.post("/v1/made-up", content=b"x", headers={"Content-Encoding": "gzip"})
    text = client.get("/metrics").text
    assert 'paraframe_requests_total{route="/v1/classify",status="415"} 1.0' in text
    assert 'paraframe_requests_total{route="unknown",status="415"} 1.0' in text
    assert "made-up" not in text


@pytest.mark.parametrize("path", ["/", "/docs", "/nowhere", "/v1/model"])
def test_every_answer_has_security_headers_and_pages_load_nothing_from_elsewhere(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text
    assert "http://" not in answer.text
    assert "https://" not in answer.text.replace("https://json-schema.org", "")


def test_the_pages_name_every_operation(client: TestClient) -> None:
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page


@pytest.mark.parametrize(
    "environment",
    [
        {"PORT": "x"},
        {"THREADS": "0"},
        {"MAX_BODY_BYTES": "-1"},
        {"MAX_TEXT_CHARS": "10000001"},
        {"MAX_BATCH_DOCUMENTS": "10001"},
    ],
)
def test_bad_settings_are_named(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=next(iter(environment))):
        Settings.from_environment(environment)


def test_nobody_serves_the_network_without_a_key_by_accident(tmp_path: Path) -> None:
    Settings(host="127.0.0.1").check_exposure()
    Settings(host="::1").check_exposure()
    Settings(host="0.0.0.0", keys_file=tmp_path / "keys").check_exposure()  # noqa: S104 what is tested
    Settings(host="0.0.0.0", private_network=True).check_exposure()  # noqa: S104 what is tested
    with pytest.raises(SettingsError, match="KEYS_FILE"):
        Settings(host="0.0.0.0").check_exposure()  # noqa: S104 what is tested
