"""The learning curve, what a share of the training documents teaches: `python -m benchmarks.curve [--data FILE]`.

Every run takes as many steps, so that what differs is the text and not the length of the training. There are twelve of
them, without a teacher: give a `--recipe` of few epochs. A run that `--runs` has already is not made again.
"""

import argparse
import hashlib
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from service.inference.artifact import METRICS, read_artifact
from service.inference.registry import Registry
from training.base_models import resolve
from training.codebook import read_codebook
from training.labels import read_labels, write_file
from training.pipeline import Plan, train
from training.recipe import Recipe, read_recipe

_PARTS = (8, 4, 2, 1)  # an eighth of the training documents, a quarter, half, all
_COLUMNS = ("macro-F1", "with best thresholds", "mean average precision", "single label")

Run = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__)
    parser.add_argument("--labels", type=Path, default=Path("labels"))
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a label file to measure on, in the place of the test split")
    parser.add_argument("--runs", type=Path, default=Path("curve.jsonl"), help="where each run is noted when it is done")
    args = parser.parse_args()
    recipe = read_recipe(args.recipe)
    test = args.data or args.labels / "test.jsonl"
    files = (test, *(args.labels / name for name in ("train.jsonl", "validation.jsonl", "codebook.json")))
    made_from = hashlib.sha256(recipe.toml().encode() + b"".join(f.read_bytes() for f in files)).hexdigest()
    noted = [json.loads(line) for line in args.runs.read_text().splitlines()] if args.runs.exists() else []
    runs = {(run["part"], run["seed"]): run for run in noted if run["made_from"] == made_from and run["seed"] <= args.seeds}
    for seed, part in product(range(1, args.seeds + 1), _PARTS):
        if (part, seed) not in runs:
            as_long = recipe.model_copy(update={"seed": seed, "epochs": recipe.epochs * part})
            run = _run(args.labels, test, as_long, part=part, seed=seed)
            runs[part, seed] = {"part": part, "seed": seed, "made_from": made_from, **run}
            with args.runs.open("a", encoding="utf-8") as file:
                file.write(json.dumps(runs[part, seed]) + "\n")
        sys.stderr.write(f"{runs[part, seed]}\n")
    sys.stdout.write("\n".join(_table(runs.values())) + "\n")


def _table(runs: Collection[Run]) -> Iterator[str]:
    """A row a share: mean, least and most of its runs."""
    yield f"| documents | sentences | {' | '.join(_COLUMNS)} |"
    yield "| --- " * (2 + len(_COLUMNS)) + "|"
    for part in _PARTS:
        of_part = {
            column: [run[column] for run in runs if run["part"] == part] for column in ("documents", "sentences", *_COLUMNS)
        }
        sizes = [f"{statistics.mean(of_part[size]):,.0f}" for size in ("documents", "sentences")]
        spread = [f"{statistics.mean(x):.3f} ({min(x):.3f} to {max(x):.3f})" for x in map(of_part.__getitem__, _COLUMNS)]
        yield f"| {' | '.join(sizes + spread)} |"


def _run(source: Path, test: Path, recipe: Recipe, *, part: int, seed: int) -> Run:
    """Train on one in `part` of the documents, by chance, and measure on `test`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "labels"
        documents, sentences = _share(source, folder, read_codebook(source).ids, part=part, seed=seed)
        shutil.copy(test, folder / "test.jsonl")
        plan = Plan(folder, recipe, resolve(recipe.base_model))
        artifact = read_artifact(train(plan, Registry(Path(scratch) / "models"), "0.0.1", quiet=True))
    measured = json.loads(artifact.contents[METRICS])["test"]
    precision = [of_label["average_precision"] for of_label in measured["labels"].values()]
    found = (
        measured["macro_f1"],
        measured["macro_f1_best_thresholds"],
        statistics.mean(precision),
        measured["single_label_accuracy"],
    )
    return {"documents": documents, "sentences": sentences, **dict(zip(_COLUMNS, found, strict=True))}


def _share(source: Path, target: Path, labels: Sequence[str], *, part: int, seed: int) -> tuple[int, int]:
    """A labels folder with one in `part` of the training documents, by chance; how many documents and sentences."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("behaviour", "own", "feedback"))
    examples = read_labels(target, labels=labels).examples["train"]
    documents = sorted({e.doc_id for e in examples})
    random.Random(seed).shuffle(documents)
    chosen = set(documents[: len(documents) // part])
    kept = [e for e in examples if e.doc_id in chosen]
    write_file(target / "train.jsonl", kept)
    return len(chosen), len(kept)


if __name__ == "__main__":
    main()
