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
from training import label_commands
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


def test_where_nothing_could_be_done_the_file_stays_as_it_was(models_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    out.write_text("of last week\n")
    assert run("label", tmp_path / "gone.txt", "--out", out, "--models", models_dir).exit_code == 2
    assert out.read_text() == "of last week\n"
    assert not list(tmp_path.glob(".*"))


def test_only_a_regular_file_is_replaced(folder: Path, models_dir: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path):
        refused = run("label", folder / "a.txt", "--out", place, "--models", models_dir)
        assert (refused.exit_code, "no regular file" in refused.stderr) == (2, True)
    (tmp_path / "real.jsonl").touch()
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    assert run("label", folder / "a.txt", "--out", tmp_path / "link.jsonl", "--models", models_dir).exit_code == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len((tmp_path / "real.jsonl").read_text().splitlines()) == 2


def test_what_a_run_writes_is_not_its_input(folder: Path, models_dir: Path) -> None:
    out = folder / "results.jsonl"
    for _ in range(2):
        run("label", folder, "--out", out, "--models", models_dir)
        assert len(out.read_text().splitlines()) == 8


def test_texts_of_one_name_in_several_inputs_have_ids_of_their_own(models_dir: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "index.txt").write_text("the rail.")
    result = run("label", tmp_path / "a", tmp_path / "b" / "index.txt", "--out", "-", "--models", models_dir)
    ids = [json.loads(line)["doc_id"] for line in result.stdout.splitlines()]
    assert ids == [str(tmp_path / "a" / "index.txt"), str(tmp_path / "b" / "index.txt")]


def test_an_encoding_is_for_texts_without_a_mark(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "marked.txt").write_text("the café.", encoding="utf-8-sig")
    (tmp_path / "plain.txt").write_text("the café.", encoding="cp1252")
    result = run(
        "label", tmp_path / "marked.txt", tmp_path / "plain.txt", "--encoding", "cp1252", "--out", "-", "--models", models_dir
    )
    assert [json.loads(line)["text"] for line in result.stdout.splitlines()] == ["the café.", "the café."]


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
    (models_dir / "current.json").write_text("{")
    assert "| 1.1.0 |" in run("models", "--models", models_dir).stdout


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


def test_what_is_measured_on_cannot_be_imported(tiny_labels: Path, tmp_path: Path) -> None:
    """Held-out sentences that come back by way of a spreadsheet, without their ids."""
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    held_out = "the ministry said on monday that talks about grain would go on."
    with (folder / "test.jsonl").open("a") as file:
        file.write(json.dumps({"id": "t", "doc_id": "t", "text": held_out, "labels": [], "kind": "natural"}) + "\n")
    (tmp_path / "back.csv").write_text(f"text,labels\nA new one.,\n{held_out.upper()},\n")
    refused = run("labels", "import", tmp_path / "back.csv", "--labels", folder)
    assert refused.exit_code == 2
    assert "would be learned" in refused.stderr
    assert not (folder / "own" / "back.jsonl").exists()


def test_a_paragraph_that_is_measured_on_cannot_be_imported_as_one_text(tiny_labels: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    two = [("The ministry spoke on Monday.", 0), ("Talks about grain went on.", 1)]
    with (folder / "test.jsonl").open("a") as file:
        for text, position in two:
            row = {"id": f"t{position}", "doc_id": "t", "position": position, "text": text, "labels": [], "kind": "natural"}
            file.write(json.dumps(row) + "\n")
    back = tmp_path / "back.jsonl"
    back.write_text(json.dumps({"text": " ".join(text for text, _ in two), "labels": []}) + "\n")
    refused = run("labels", "import", back, "--labels", folder)
    assert refused.exit_code == 2
    assert "would be learned" in refused.stderr


def test_an_import_that_is_interrupted_leaves_no_file(
    tiny_labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (tmp_path / "mine.jsonl").write_text('{"text": "A new one.", "labels": []}\n')

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(label_commands, "refuse_leaks", interrupted)
    assert run("labels", "import", tmp_path / "mine.jsonl", "--labels", folder).exit_code != 0
    assert not list((folder / "own").iterdir())


def test_what_export_writes_import_reads(tiny_labels: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    (folder / "train.jsonl").write_text('{"text": "- He said \\"so\\".\\nTwice.", "labels": ["speculation"], "outlet": "x"}\n')
    for name in ("mine.csv", "mine.jsonl"):
        assert run("labels", "export", "--out", tmp_path / name, "--labels", folder).exit_code == 0
    assert json.loads((tmp_path / "mine.jsonl").read_text())["outlet"] == "x"
    assert run("labels", "import", tmp_path / "mine.csv", "--labels", folder).exit_code == 0
    row = json.loads((folder / "own" / "mine.jsonl").read_text())
    assert (row["text"], row["labels"]) == ('- He said "so".\nTwice.', ["speculation"])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('text,labels\n"two\nlines",\nA.,villain\n', "bad.csv:4: unknown label 'villain'"),
        ("text,labels\n" + "x" * 200_000 + ",\n", "bad.csv:2: field larger than"),
    ],
)
def test_a_bad_table_is_refused_by_its_line(content: str, complaint: str, tiny_labels: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text(content)
    refused = run("labels", "import", tmp_path / "bad.csv", "--labels", Path(shutil.copytree(tiny_labels, tmp_path / "labels")))
    assert refused.exit_code == 2
    assert complaint in refused.stderr


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


def test_what_the_model_cannot_read_is_not_suggested(models_dir: Path, tmp_path: Path) -> None:
    russian = "Министерство сообщило в понедельник, что переговоры о зерне и железной дороге продолжатся в городе после обеда."
    english = "The ministry said on Monday that talks about grain and rail would go on in the city hall after lunch."
    (tmp_path / "mixed.txt").write_text(f"{russian}\n\n{english}\n\n17, 3, 88, 40, 2, 19\n")
    assert (
        run("labels", "suggest", tmp_path / "mixed.txt", "--out", tmp_path / "next.jsonl", "--models", models_dir).exit_code
        == 0
    )
    assert [json.loads(line)["text"] for line in (tmp_path / "next.jsonl").read_text().splitlines()] == [english]


def test_folders_come_from_the_environment_too(
    tiny_base: Path, tiny_labels: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABELS_DIR", str(tiny_labels))
    monkeypatch.setenv("MODELS_DIR", str(models_dir))
    assert " 360 " in run("labels", "stats").stdout
    assert "exists already" in run("train", "--version", "1.0.0", "--base-model", tiny_base).stderr


def test_suggestions_can_be_imported(models_dir: Path, tiny_labels: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_labels, tmp_path / "labels"))
    talks = [f"The ministry said on Monday that talks number {n} about grain and rail would go on." for n in range(4)]
    (tmp_path / "talks.txt").write_text("\n\n".join(talks))
    out = tmp_path / "next.jsonl"
    suggested = run("labels", "suggest", tmp_path / "talks.txt", "--count", 3, "--out", out, "--models", models_dir)
    assert suggested.exit_code == 0
    assert len(out.read_text().splitlines()) == 3
    assert run("labels", "import", out, "--labels", folder).exit_code == 0
    again = run("labels", "suggest", tmp_path / "talks.txt", "--out", out, "--models", models_dir)
    assert again.exit_code == 2
    assert "corrections" in again.stderr


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
