"""A disk that is full: labels are still given, nothing is stored by half, and all is well when there is room again."""

import json
import resource
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.server import running

_ROOM = 40_000


def post(port: int, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def fault_the_disk_of_the_service_is_full(models_dir: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    with running(MODELS_DIR=str(models_dir), LABELS_DIR=str(labels), THREADS="1") as service:
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (_ROOM, resource.RLIM_INFINITY))
        example = {"text": "the grain " * 100, "labels": ["speculation"]}
        stored: list[str] = []
        for _ in range(100):
            status, body = post(service.port, "/v1/feedback", example)
            if status == 503:
                break
            stored.append(body["id"])
        assert status == 503
        assert body["error"]["code"] == "storage_unavailable"
        assert post(service.port, "/v1/classify", {"text": "the rail puppets."})[0] == 200
        lines = (labels / "feedback" / "feedback.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == stored
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        status, body = post(service.port, "/v1/feedback", example)
        assert status in (200, 201)
        lines = (labels / "feedback" / "feedback.jsonl").read_text().splitlines()
        assert [json.loads(line)["id"] for line in lines] == [*stored, body["id"]]


def fault_the_disk_of_a_batch_run_is_full(models_dir: Path, tmp_path: Path) -> None:
    source, out, whole = (tmp_path / name for name in ("many.jsonl", "out.jsonl", "whole.jsonl"))
    source.write_text("".join(json.dumps({"id": n, "text": f"the rail puppets {n}."}) + "\n" for n in range(500)))

    def label(target: Path, *, room: int | None = None) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "training.cli", "label", source, "--out", target, "--models", models_dir, "--quiet"]
        limit = None if room is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        return subprocess.run([str(part) for part in command], preexec_fn=limit, stderr=subprocess.PIPE, text=True, check=False)

    assert label(whole).returncode == 0
    full = label(out, room=whole.stat().st_size // 2)
    assert full.returncode == 2
    assert "cannot be written" in full.stderr
    assert not out.exists()
    assert label(out).returncode == 0
    assert out.read_bytes() == whole.read_bytes()
