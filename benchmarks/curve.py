"""The learning curve, what a share of the training documents teaches: `python -m benchmarks.curve [--data FILE]`.

Every run takes as many steps, so that what differs is the text and not the length of the training. There are twelve of
them, without a teacher: give a `--recipe` of few epochs.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

from service.inference.artifact import METRICS, read_artifact
from service.inference.registry import Registry
from training.base_models import resolve
from training.codebook import read_codebook
from training.labels import read_labels, write_file
from training.pipeline import Plan, train
from training.recipe import Recipe, read_recipe

_PARTS = (8, 4, 2, 1)  # an eighth of the training documents, a quarter, half, all
_COLUMNS = ("macro-F1", "with best thresholds", "mean average precision", "single label")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__)
    parser.add_argument("--labels", type=Path, default=Path("labels"))
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="a label file to measure on, in the place of the test split")
    args = parser.parse_args()
    recipe, recipe_text = read_recipe(args.recipe)
    labels = read_codebook(args.labels).ids
    test = args.data or args.labels / "test.jsonl"
    runs: dict[int, list[list[float]]] = defaultdict(list)
    for seed, part in product(range(1, args.seeds + 1), _PARTS):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "labels"
            size = _share(args.labels, folder, labels, part=part, seed=seed)
            shutil.copy(test, folder / "test.jsonl")
            as_long = recipe.model_copy(update={"seeds": (seed,), "epochs": recipe.epochs * part})
            run = _run(folder, Path(scratch) / "models", as_long, recipe_text)
        sys.stderr.write(f"1/{part} of the documents, seed {seed}: {', '.join(f'{x:.3f}' for x in run)}\n")
        runs[part].append([*size, *run])
    sys.stdout.write("\n".join(_table(runs)) + "\n")


def _table(runs: Mapping[int, Sequence[Sequence[float]]]) -> Iterator[str]:
    """A row a share: mean, least and most of its runs."""
    yield f"| documents | sentences | {' | '.join(_COLUMNS)} |"
    yield "| --- " * (2 + len(_COLUMNS)) + "|"
    for of_share in runs.values():
        documents, sentences, *measured = zip(*of_share, strict=True)
        spread = [f"{statistics.mean(x):.3f} ({min(x):.3f} to {max(x):.3f})" for x in measured]
        yield f"| {statistics.mean(documents):.0f} | {statistics.mean(sentences):,.0f} | {' | '.join(spread)} |"


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


def _run(labels_folder: Path, models: Path, recipe: Recipe, recipe_text: str) -> list[float]:
    plan = Plan(labels_folder, recipe, recipe_text, resolve(recipe.base_model))
    measured = json.loads(read_artifact(train(plan, Registry(models), "0.0.1", quiet=True)).contents[METRICS])["test"]
    precision = [of_label["average_precision"] for of_label in measured["labels"].values()]
    return [
        measured["macro_f1"],
        measured["macro_f1_best_thresholds"],
        statistics.mean(precision),
        measured["single_label_accuracy"],
    ]


if __name__ == "__main__":
    main()
