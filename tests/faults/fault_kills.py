"""kill -9 at any moment: what was acknowledged is there, and nothing is half there."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from service.feedback import FeedbackStore
from service.inference.registry import Registry

_STORE = """
import sys
from pathlib import Path
from service.feedback import FeedbackStore
store = FeedbackStore(Path(sys.argv[1]))
number = 0
while True:
    text = f"{number} " + "grain " * (number % 400)
    print(store.append({"text": text, "labels": []}), flush=True)
    number += 1
"""

_PUBLISH = """
import shutil, sys
from pathlib import Path
from service.inference.registry import Registry
registry = Registry(Path(sys.argv[1]))
number = int(sys.argv[2])
shutil.rmtree(Path(sys.argv[1]) / ".gone", ignore_errors=True)
print("ready", flush=True)
while True:
    number += 1
    version = f"3.{number}.0"
    with registry.new_version(version) as folder:
        for file in (Path(sys.argv[1]) / "1.1.0").iterdir():
            shutil.copy(file, folder)
        manifest = (folder / "manifest.json").read_text().replace('"1.1.0"', f'"{version}"')
        (folder / "manifest.json").write_text(manifest)
    registry.promote(version)
    registry.promote("1.0.0")
    (Path(sys.argv[1]) / version).rename(Path(sys.argv[1]) / ".gone")
    shutil.rmtree(Path(sys.argv[1]) / ".gone")
"""


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def kill(child: "subprocess.Popen[str]", after: float) -> list[str]:
    """The lines that it had written when it was killed, so many seconds after the first."""
    with child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(after)
        child.send_signal(signal.SIGKILL)
        return (first + child.stdout.read()).split()


def fault_store_is_killed(tmp_path: Path) -> None:
    chance = random.Random(0)
    acknowledged: list[str] = []
    for _ in range(60):
        acknowledged += kill(python(_STORE, tmp_path), chance.random() * 0.05)
    acknowledged.append(FeedbackStore(tmp_path).append({"text": "after all", "labels": []}))
    content = (tmp_path / "feedback" / "feedback.jsonl").read_bytes()
    assert content.endswith(b"\n")
    stored = [json.loads(line)["id"] for line in content.splitlines()]  # every line is whole
    assert len(acknowledged) > 60
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored)) <= len(acknowledged) + 60


def fault_publishing_is_killed(models_dir: Path) -> None:
    chance = random.Random(1)
    registry = Registry(models_dir)
    for turn in range(40):
        child = python(_PUBLISH, models_dir, turn * 1000)
        kill(child, chance.random() * 0.3)
        served = registry.read(registry.current())  # verifies every file
        assert served.version in registry.versions()
        for version in registry.versions():
            registry.read(version)


def fault_batch_is_killed(models_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "many.jsonl"
    with source.open("w") as file:
        for n in range(6000):
            file.write(json.dumps({"id": n, "text": f"the rail puppets.\n\nperhaps the grain {n} in the hall."}) + "\n")

    def label(out: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "training.cli", "label", source, "--out", out, "--models", models_dir, "--quiet"]
        return subprocess.Popen([str(part) for part in command])

    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert label(whole).wait() == 0
    chance = random.Random(2)
    kept = [0]
    for _ in range(20):
        child = label(out)
        while child.poll() is None and saved_inputs(tmp_path / ".out.jsonl.part.json") <= kept[-1]:
            time.sleep(0.002)
        time.sleep(chance.random() * 0.05)  # anywhere in what comes next
        child.kill()
        child.wait()
        if out.exists():
            break
        kept.append(saved_inputs(tmp_path / ".out.jsonl.part.json"))
        assert kept[-1] > kept[-2]  # no run begins anew
    assert max(kept) > 0
    assert out.exists() or label(out).wait() == 0
    assert out.read_bytes() == whole.read_bytes()


def saved_inputs(checkpoint: Path) -> int:
    return json.loads(checkpoint.read_text())["inputs"] if checkpoint.exists() else 0
