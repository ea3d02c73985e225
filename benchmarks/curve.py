"""The learning curve, what a share of the training documents teaches: `python -m benchmarks.curve [--data FILE]`."""

import argparse
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

from service.inference.artifact import read_artifact
from service.inference.classifier import Classifier
from service.inference.registry import Registry
from training.base_models import resolve
from training.calibrate import best_threshold
from training.codebook import read_codebook
from training.labels import Paragraph, paragraphs, read_file, read_labels, write_file
from training.metrics import measure
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
    measured_on = [e for _, e in read_file(args.data or args.labels / "test.jsonl", labels=labels)]
    header = f"| training documents | sentences | seeds | {' | '.join(_COLUMNS)} |"
    sys.stdout.write(f"{header}\n{'| --- ' * (3 + len(_COLUMNS))}|\n")
    for part in _PARTS:
        runs = []
        for seed in range(1, args.seeds + 1):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "labels"
                documents, sentences = _share(args.labels, folder, labels, part=part, seed=seed)
                seeded = recipe.model_copy(update={"seeds": (seed,)})
                runs.append(_run(folder, Path(scratch) / "models", seeded, recipe_text, paragraphs(measured_on)))
        sys.stdout.write(f"| {documents} | {sentences} | {args.seeds} | {' | '.join(_spread(runs))} |\n")
        sys.stdout.flush()


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


def _run(labels_folder: Path, models: Path, recipe: Recipe, recipe_text: str, data: Sequence[Paragraph]) -> list[float]:
    plan = Plan(labels_folder, recipe, recipe_text, resolve(recipe.base_model))
    classifier = Classifier(read_artifact(train(plan, Registry(models), "0.0.1", quiet=True)))
    decisions = [labelled[0].decision for labelled in classifier.classify_many(p.text for p in data)]
    measured = measure(data, decisions, classifier.artifact.manifest.labels)
    best, precision = [], []
    for label, of_label in measured["labels"].items():
        scores = np.array([d.scores[label] for d in decisions])
        carried = np.array([label in p.labels for p in data])
        best.append(float(f1_score(carried, scores >= best_threshold(scores, carried))))
        precision.append(of_label["average_precision"])
    return [measured["macro_f1"], statistics.mean(best), statistics.mean(precision), measured["single_label_accuracy"]]


def _spread(runs: Sequence[Sequence[float]]) -> Iterator[str]:
    """Mean, least and most of each column."""
    for column in zip(*runs, strict=True):
        yield f"{statistics.mean(column):.3f} ({min(column):.3f} to {max(column):.3f})"


if __name__ == "__main__":
    main()
