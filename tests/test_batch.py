"""Batch runs that are cut short, and run again."""

import csv
import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from service.inference.classifier import Classifier
from training.cli import main

DOCUMENTS = 300


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.jsonl"
    rows = [{"id": n, "text": f"the rail puppets.\n\nperhaps the grain {n}.", "outlet": "é, x"} for n in range(DOCUMENTS)]
    rows[70] = {"id": 70, "text": "a\x00b", "outlet": ""}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def label(source: Path, out: Path, models: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["label", str(source), "--out", str(out), "--models", str(models), *more])


def cut_short_at(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is interrupted when it comes to so many chunks."""
    classify_many = Classifier.classify_many
    chunks = 0

    def interrupted(self: Classifier, texts: Iterable[str]) -> Any:
        nonlocal chunks
        chunks += 1
        if chunks == chunk:
            raise KeyboardInterrupt
        return classify_many(self, texts)

    monkeypatch.setattr(Classifier, "classify_many", interrupted)


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("chunk", [1, 2, 4])
def test_a_run_cut_short_goes_on_and_ends_up_the_same(
    many: Path, models_dir: Path, tmp_path: Path, ending: str, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    assert label(many, whole, models_dir).exit_code == 1
    with monkeypatch.context() as patch:
        cut_short_at(chunk, patch)
        assert label(many, out, models_dir).exit_code == 1
    assert not out.exists()
    again = label(many, out, models_dir)
    assert again.exit_code == 1
    assert "many.jsonl:71" in again.stderr
    assert ("cut short" in again.stderr) == (chunk > 1)
    assert out.read_bytes() == whole.read_bytes()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("change", ["input", "model", "rows", "checkpoint"])
def test_what_no_longer_fits_is_begun_anew(
    many: Path, models_dir: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    with monkeypatch.context() as patch:
        cut_short_at(4, patch)
        label(many, out, models_dir)
    more: tuple[str, ...] = ()
    if change == "input":
        many.write_text(many.read_text().replace("grain 3.", "grain three."))
    elif change == "model":
        more = ("--model", "1.1.0")
    elif change == "rows":
        (tmp_path / ".out.jsonl.part").write_text("")
    else:
        (tmp_path / ".out.jsonl.part.json").write_text("{")
    again = label(many, out, models_dir, *more)
    assert "cut short" not in again.stderr
    whole = tmp_path / "whole.jsonl"
    label(many, whole, models_dir, *more)
    assert out.read_bytes() == whole.read_bytes()


def test_two_runs_do_not_write_one_file(many: Path, models_dir: Path, tmp_path: Path) -> None:
    with (tmp_path / ".out.jsonl.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = label(many, tmp_path / "out.jsonl", models_dir)
        assert (tmp_path / ".out.jsonl.part").exists()
    assert refused.exit_code == 2
    assert "another run is writing" in refused.stderr


def test_every_field_of_every_input_has_its_column(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "x").mkdir(parents=True)
    (folder / "y").mkdir()
    (folder / "x" / "index.txt").write_text("the rail.")
    (folder / "y" / "index.txt").write_text("the grain.")
    (folder / "z.jsonl").write_text(
        '{"text": "the hall.", "id": null, "outlet": "A"}\n{"text": "a b c.", "url": "u", "label": "l"}\n'
    )
    assert label(folder, tmp_path / "out.csv", models_dir).exit_code == 0
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["doc_id"] for r in rows] == [str(folder / "z.jsonl:1"), str(folder / "z.jsonl:2"), "x/index.txt", "y/index.txt"]
    assert [(r["outlet"], r["url"], r["input_label"]) for r in rows] == [
        ("A", "", ""),
        ("", "u", "l"),
        ("", "", ""),
        ("", "", ""),
    ]


def test_what_cannot_be_written_is_named_and_passed_over(models_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "the hall.", "outlet": "\\ud83d"}\n{"text": "the rail."}\n')
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text(" ")
    result = label(folder, tmp_path / "out.jsonl", models_dir)
    assert result.exit_code == 1
    assert "a.jsonl:1: not valid Unicode" in result.stderr
    assert "caf\\udce9.txt" in result.stderr
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1
