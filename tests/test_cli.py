"""The command line: what it writes, what it says, how it ends."""

import csv
import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from service.inference.artifact import Manifest, write_manifest
from training.cli import main

BAD = ["broken.jsonl:2", "empty.txt", "binary.txt", "latin.txt"]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good and bad inputs of every kind."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("the rail puppets.\n\nthe city hall.", encoding="utf-8")
    (folder / "deep" / "b.md").write_text("perhaps the grain.", encoding="utf-8-sig")
    (folder / "utf16.txt").write_text("the talks.", encoding="utf-16")
    rows = [{"id": 7, "text": "the hall.", "label": "mine", "outlet": "x"}, {"text": "the lunch."}]
    (folder / "c.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    with gzip.open(folder / "d.jsonl.gz", "wt") as file:
        file.write(json.dumps({"id": "z", "text": "the rail is classified."}) + "\n")
    (folder / "broken.jsonl").write_text('{"text": "the city."}\n{"text": \n')
    (folder / "empty.txt").write_text(" \n")
    (folder / "binary.txt").write_bytes(b"the\x00rail")
    (folder / "latin.txt").write_bytes("café".encode("latin-1"))
    (folder / "ignored.pdf").write_bytes(b"%PDF")
    return folder


def test_a_folder_becomes_a_row_per_paragraph_and_bad_inputs_are_named(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    result = run("label", folder, "--out", out, "--models", models_dir)
    assert result.exit_code == 1
    for name in BAD:
        assert name in result.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(r["doc_id"], r["paragraph"]) for r in rows] == [
        ("a.txt", 0), ("a.txt", 1), (str(folder / "broken.jsonl:1"), 0), ("7", 0), (str(folder / "c.jsonl:2"), 0), ("z", 0),
        ("utf16.txt", 0), ("deep/b.md", 0),
    ]  # fmt: skip
    fields = (
        "doc_id", "paragraph", "start", "end", "text", "label", "confidence", "unsure", "labels", "voice", "scores", "evidence",
        "warning", "model", "model_sha256",
    )  # fmt: skip
    assert all(tuple(r)[: len(fields)] == fields for r in rows)
    assert (rows[3]["input_label"], rows[3]["outlet"]) == ("mine", "x")


def test_exit_status_tells_all_some_nothing(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run("label", folder / "a.txt", "--out", out, "--models", models_dir).exit_code == 0
    assert run("label", folder / "a.txt", tmp_path / "gone.txt", "--out", out, "--models", models_dir).exit_code == 1
    assert run("label", tmp_path / "gone.txt", "--out", out, "--models", models_dir).exit_code == 2
    assert run("label", folder / "a.txt", "--out", tmp_path / "no" / "out.jsonl", "--models", models_dir).exit_code == 2
    assert run("label", folder / "a.txt", "--out", out, "--models", tmp_path / "none").exit_code == 2
    assert run("label", folder / "a.txt", "--out", out, "--models", models_dir, "--model", "9").exit_code == 2


def test_an_endless_input_is_refused(models_dir: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    result = run("label", "/dev/zero", tmp_path / "pipe.txt", "--out", "-", "--models", models_dir)
    assert result.exit_code == 2
    assert result.stderr.count("not a regular file") == 2


def test_data_goes_to_standard_output_and_nothing_else_does(folder: Path, models_dir: Path) -> None:
    result = run("label", folder / "a.txt", "--out", "-", "--models", models_dir)
    assert [json.loads(line)["paragraph"] for line in result.stdout.splitlines()] == [0, 1]


def test_csv_opens_in_a_spreadsheet_without_running_anything(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.jsonl").write_text(json.dumps({"text": "=HYPERLINK(1) the rail", "id": "+1", "note": "@x"}) + "\n")
    out = tmp_path / "out.csv"
    assert run("label", tmp_path / "evil.jsonl", "--out", out, "--models", models_dir).exit_code == 0
    assert out.read_bytes().startswith(b"\xef\xbb\xbf")
    with out.open(encoding="utf-8-sig", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["text"], row["doc_id"], row["note"]) == ("'=HYPERLINK(1) the rail", "'+1", "'@x")
    assert 0 <= float(row["score_speculation"]) <= 1


def test_a_chunk_with_a_bad_document_loses_nothing_else(models_dir: Path, tmp_path: Path) -> None:
    rows = [{"id": n, "text": "the rail." if n != 40 else "a\x00b"} for n in range(150)]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = run("label", tmp_path / "many.jsonl", "--out", tmp_path / "o.jsonl", "--models", models_dir)
    assert result.exit_code == 1
    found = [int(json.loads(line)["doc_id"]) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert found == [n for n in range(150) if n != 40]


def test_versions_are_listed_promoted_and_rolled_back(models_dir: Path) -> None:
    assert "| 1.0.0 * |" in run("models", "--models", models_dir).stdout
    assert run("promote", "1.1.0", "--models", models_dir).exit_code == 0
    assert "| 1.1.0 * |" in run("models", "--models", models_dir).stdout
    assert run("rollback", "--models", models_dir).exit_code == 0
    assert "| 1.0.0 * |" in run("models", "--models", models_dir).stdout
    assert run("promote", "3.0.0", "--models", models_dir).exit_code == 2


def test_evaluate_measures_any_label_file(models_dir: Path, tiny_labels: Path) -> None:
    result = run("evaluate", "--models", models_dir, "--data", tiny_labels / "validation.jsonl", "--json")
    metrics = json.loads(result.stdout)["1.0.0"]
    assert metrics["macro_f1"] > 0.9
    assert set(metrics["labels"]) == {"hero_framing", "enemy_attribution", "omission_secrecy", "speculation"}
    assert run("evaluate", "--models", models_dir, "--data", "gone.jsonl").exit_code == 2
    both = run("evaluate", "1.0.0", "1.1.0", "--models", models_dir, "--labels", tiny_labels)
    assert "| 1.0.0 |" in both.stdout
    assert "| 1.1.0 |" in both.stdout


def test_labels_are_checked_imported_and_exported(tiny_labels: Path, tmp_path: Path) -> None:
    for source in tiny_labels.glob("*.json*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    mine = tmp_path / "mine.csv"
    mine.write_text("text,labels\nA new text of mine.,speculation; omission_secrecy\nAnother.,\n")
    assert run("labels", "import", mine, "--labels", tmp_path).exit_code == 0
    assert run("labels", "import", mine, "--labels", tmp_path).exit_code == 2
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "A.", "labels": ["villain"]}\n')
    refused = run("labels", "import", bad, "--labels", tmp_path)
    assert refused.exit_code == 2
    assert f"{bad}:1: unknown label 'villain'" in refused.stderr
    assert sorted(p.name for p in (tmp_path / "own").iterdir()) == ["mine.jsonl"]
    assert run("labels", "export", "--out", tmp_path / "t.csv", "--labels", tmp_path).exit_code == 0
    assert "A new text of mine." in (tmp_path / "t.csv").read_text()
    assert "hero_framing" in run("labels", "stats", "--labels", tmp_path).stdout
    (tmp_path / "own" / "broken.jsonl").write_text("{")
    assert run("labels", "check", "--labels", tmp_path).exit_code == 2


def test_an_import_that_contradicts_what_is_there_changes_nothing(tiny_labels: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (tmp_path / "again.jsonl").write_bytes((folder / "test.jsonl").read_bytes())
    refused = run("labels", "import", tmp_path / "again.jsonl", "--labels", folder)
    assert refused.exit_code == 2
    assert "was used at" in refused.stderr
    assert run("labels", "check", "--labels", folder).exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("labels", "import", "gone.jsonl"),
        ("labels", "import", "latin.csv"),
        ("labels", "export", "--out", "no/such/folder.csv"),
        ("labels", "suggest", "gone", "--out", "x.jsonl"),
        ("train", "--version", "1.0.0"),
        ("train", "--version", "a/b"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    arguments: tuple[str, ...],
    tiny_base: Path,
    tiny_labels: Path,
    models_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_labels, tmp_path / "labels")
    (tmp_path / "latin.csv").write_bytes("text,labels\ncafé,\n".encode("latin-1"))
    more = ["--base-model", str(tiny_base), "--quiet"] if arguments[0] == "train" else []
    result = run(*arguments, *more)
    assert result.exit_code == 2
    assert result.stderr.strip().splitlines()[-1].startswith("paraframe: ")


def test_a_version_that_fails_its_golden_texts_is_not_promoted(models_dir: Path) -> None:
    folder = models_dir / "1.1.0"
    cases = json.loads((folder / "golden.json").read_text())
    cases[0]["labels"] = ["speculation", "hero_framing"]
    (folder / "golden.json").write_text(json.dumps(cases))
    write_manifest(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes()))
    assert run("promote", "1.1.0", "--models", models_dir).exit_code == 2
    assert "| 1.0.0 * |" in run("models", "--models", models_dir).stdout
    (folder / "model.bin").write_bytes(b"")
    listed = run("models", "--models", models_dir)
    assert "| 1.0.0 * |" in listed.stdout
    assert "1.1.0 is refused" in listed.stderr


def test_serve_is_the_service_and_stops_with_it(models_dir: Path) -> None:
    command = [sys.executable, "-c", "from training.cli import main; main()", "serve", "--port", "0"]
    environment = {**os.environ, "MODELS_DIR": str(models_dir)}
    process = subprocess.Popen(command, env=environment, cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            if "running on" in line:
                break
        process.terminate()
        assert process.wait(20) == 0


def test_suggestions_can_be_imported(folder: Path, models_dir: Path, tiny_labels: Path, tmp_path: Path) -> None:
    for source in tiny_labels.glob("*.json*"):
        (tmp_path / source.name).write_bytes(source.read_bytes())
    out = tmp_path / "next.jsonl"
    assert (
        run(
            "labels", "suggest", folder / "a.txt", folder / "c.jsonl", "--count", 3, "--out", out, "--models", models_dir
        ).exit_code
        == 0
    )
    assert len(out.read_text().splitlines()) == 3
    assert run("labels", "import", out, "--labels", tmp_path).exit_code == 0


def commands(group: click.Group, path: str = "paraframe") -> list[tuple[str, click.Command]]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += commands(command, f"{path} {name}")
        else:
            found.append((f"{path} {name}", command))
    return found


@pytest.mark.parametrize(("path", "command"), commands(main), ids=lambda x: x if isinstance(x, str) else "")
def test_every_command_has_help_and_is_in_the_readme(path: str, command: click.Command) -> None:
    assert command.help
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    assert f"`{path}`" in readme or f"`{path} " in readme
