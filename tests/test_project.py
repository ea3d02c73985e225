"""The project itself: who may import whom, what deploys it, what the corpus is, and that what it says of itself is true."""

import ast
import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

from benchmarks.server import running
from service.inference.classifier import Classifier
from service.settings import Settings
from training import card
from training.agreement import agreement
from training.behaviour import read_pairs
from training.checks import check
from training.codebook import read_codebook
from training.labels import SPLITS, read_labels, tally

from .conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("service.inference.classifier", {"fastapi", "starlette", "torch", "transformers", "training"}),
        ("service.app", {"torch", "transformers", "sklearn", "training"}),
        ("training.cli", {"torch", "transformers", "sklearn", "fastapi", "service.app"}),
        ("training.card", {"torch", "sklearn"}),
        ("training.label_commands", {"torch", "sklearn", "nltk"}),
        ("training.pipeline", {"fastapi", "service.app", "service.routes", "service.settings"}),
    ],
)
def test_what_an_import_brings_in_a_fresh_interpreter(module: str, forbidden: set[str]) -> None:
    code = f"import {module}, sys; print('\\n'.join(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert forbidden.isdisjoint(output.splitlines())


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module or "")
    return found


def test_dependencies_point_one_way_even_inside_functions() -> None:
    for path in (ROOT / "service").rglob("*.py"):
        assert not {name for name in imports(path) if name.split(".")[0] in ("training", "torch", "transformers")}
    for path in (ROOT / "training").rglob("*.py"):
        assert not {n for n in imports(path) if n.startswith("service") and not n.startswith("service.inference")}


def test_serving_requirements_hold_no_training_tool() -> None:
    names = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "serve.txt").read_text(), re.MULTILINE))
    assert {"fastapi", "openvino", "uvicorn"} <= names
    assert names.isdisjoint({"torch", "transformers", "scikit-learn", "datasets"})


def test_compose_publishes_on_loopback_with_volumes_and_mounts_what_the_service_reads() -> None:
    service = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["paraframe"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert {v.split(":")[1] for v in service["volumes"]} == {"/app/models", "/app/labels"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    for source in re.findall(r"^COPY (.+) \S+$", dockerfile, re.MULTILINE):
        for path in source.split():
            assert (ROOT / path).exists()
    environment = dict(re.findall(r"(\w+)=(\S+)", re.search(r"^ENV (.+)$", dockerfile, re.MULTILINE)[1]))
    Settings.from_environment(environment).check_exposure()


def test_every_module_is_in_the_file_map_and_every_setting_in_the_readme() -> None:
    for folder in ("service", "training", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.name != "__init__.py":
                assert f"`{path.relative_to(ROOT)}`" in README or f"`{path.name}`" in README, path
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        assert f"| `{name.upper()}` | {default} |" in README


def test_the_readme_s_table_is_the_shipped_model_s(shipped: Classifier) -> None:
    metrics = json.loads(shipped.artifact.contents["metrics.json"])["test"]
    assert card.per_label(metrics) in README
    assert card.table({shipped.artifact.version: metrics}) in README
    assert card.evidence(metrics) in README
    behaviour = json.loads(shipped.artifact.contents["metrics.json"])["behaviour"]
    assert card.behaviour_table(behaviour) in README
    assert f"{shipped.artifact.manifest.name} {shipped.artifact.version}" in README
    assert card.per_label(metrics) in shipped.artifact.contents["README.md"].decode()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    """The port of a service with the shipped model."""
    with running(MODELS_DIR=str(ROOT / "models"), LABELS_DIR=str(tmp_path_factory.mktemp("labels"))) as server:
        yield str(server.port)


def test_the_readme_s_examples_run_word_for_word(served: str, tmp_path: Path) -> None:
    ran = 0
    for block in blocks("bash"):
        if block.startswith(("make", "docker", "git", ".venv/bin/paraframe train")):
            continue
        command = block.replace("localhost:8000", f"localhost:{served}").replace(
            ".venv/bin/", f"{Path(sys.executable).parent}/"
        )
        command = (
            command.replace("results.", f"{tmp_path}/results.")
            .replace("newsroom.keys", f"{tmp_path}/newsroom.keys")
            .replace("to-label.jsonl", f"{tmp_path}/to-label.jsonl")
        )
        result = subprocess.run(["bash", "-ec", command], cwd=ROOT, capture_output=True, text=True, check=False)
        assert result.returncode == 0, (command, result.stderr)
        assert '"error"' not in result.stdout
        ran += 1
    assert ran >= 4


def test_the_readme_s_answer_is_what_the_service_answers(served: str) -> None:
    """Labels to the letter; numbers may differ in the last places on another processor."""
    (shown,) = (json.loads(block) for block in blocks("json"))
    body = json.dumps({"text": re.search(r'"text": "(.*?)"}', README)[1]}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{served}/v1/classify", body, {"Content-Type": "application/json"})
    answer = json.load(urllib.request.urlopen(request, timeout=20))
    for theirs, ours in zip(shown["paragraphs"], answer["paragraphs"], strict=True):
        for key in ("index", "start", "end", "text", "label", "labels", "voice", "unsure"):
            assert theirs[key] == ours[key]
        assert theirs["confidence"] == pytest.approx(ours["confidence"], abs=0.05)
        for label, score in theirs["scores"].items():
            assert score == pytest.approx(ours["scores"][label], abs=0.05)
        carried = [{(e["start"], e["end"], e["text"], e["label"], e["voice"]) for e in p["evidence"]} for p in (theirs, ours)]
        assert carried[0] == carried[1]
    assert shown["model"] == answer["model"]
    assert shown["summary"] == answer["summary"]


LABELS = read_codebook(ROOT / "labels")
CORPUS = read_labels(ROOT / "labels", labels=LABELS.ids)


def test_the_corpus_is_clean() -> None:
    assert check(CORPUS) == []


def test_the_corpus_has_the_size_and_shape_that_its_card_states() -> None:
    everything = [example for split in SPLITS for example in CORPUS.examples[split] if example.kind != "own"]
    counts = tally(everything, LABELS.ids)
    rows = {split: tally(CORPUS.examples[split], LABELS.ids) for split in SPLITS} | {"all": counts}
    stated = (ROOT / "labels" / "README.md").read_text()
    for name, row in rows.items():
        assert f"| {name} | {' | '.join(f'{value:,}' for value in row.values())} |" in stated
    assert counts["none"] > counts["sentences"] / 2
    for split in ("validation", "test"):
        assert all(count >= 50 for count in tally(CORPUS.examples[split], LABELS.ids).values())
    for label in LABELS.ids:
        voices = [e.voice[label] for e in everything if label in e.voice]
        assert min(voices.count("own"), voices.count("reported")) >= 50


def test_coders_agree() -> None:
    table = agreement((e for split in SPLITS for e in CORPUS.examples[split]), LABELS)
    stated = (ROOT / "labels" / "README.md").read_text()
    for name, row in table.items():
        assert row.alpha >= 0.75
        assert f"| `{name}` | {row.alpha:.3f} | {row.f1:.3f} | {row.units:,} |" in stated


def test_hugging_face_datasets_reads_the_folder(tmp_path: Path) -> None:
    dataset = load_dataset(str(ROOT / "labels"), cache_dir=str(tmp_path))
    assert {split: dataset[split].num_rows for split in dataset} == {s: len(CORPUS.examples[s]) for s in SPLITS}


def test_the_behavioural_suite_is_whole_and_never_trained_on() -> None:
    pairs = read_pairs(ROOT / "labels" / "behaviour" / "pairs.jsonl")
    assert len({pair.id for pair in pairs}) == len(pairs) >= 600
    assert {pair.label for pair in pairs if pair.kind == "flip"} == set(LABELS.ids)
    trained = {example.text for example in CORPUS.examples["train"]}
    assert not trained & {text for pair in pairs for text in (pair.a, pair.b)}
