"""Labels and a recipe to a new model version: fit, export, calibrate, evaluate, seal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.inference import artifact
from service.inference.artifact import Artifact, BaseModelEntry, Manifest, read_artifact, write_manifest
from service.inference.classifier import Classifier
from service.inference.decide import DecisionRule, LabelRule
from service.inference.registry import Registry

from . import card
from .agreement import agreement
from .base_models import BaseModel
from .batches import items
from .behaviour import Pair, behave, read_suite
from .calibrate import Scored, calibrate, check_positives
from .checks import refuse_leaks, without_leaking_feedback
from .codebook import read_codebook
from .errors import TrainingError
from .export import check_parity, export
from .fit import fit
from .golden import golden
from .labels import LabelSet, Paragraph, read_labels
from .metrics import evaluate
from .recipe import Recipe

NAME = "paraframe-en"
LANGUAGE = "en"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a training run is made from."""

    labels_folder: Path
    recipe: Recipe
    base: BaseModel
    teacher: Artifact | None = None


def train(plan: Plan, registry: Registry, version: str, *, quiet: bool) -> Path:
    """Train as planned and write `version` into the registry; it is not served until promoted."""
    codebook = read_codebook(plan.labels_folder)
    codebook_file = (plan.labels_folder / "codebook.json").read_bytes()  # it may be edited while the training runs
    label_set = without_leaking_feedback(read_labels(plan.labels_folder, labels=codebook.ids))
    _check(plan, registry, version, label_set, codebook.ids)
    suite = read_suite(plan.labels_folder)
    coders = {
        label: row.f1
        for label, row in agreement(label_set.everything(), codebook).items()
        if label in codebook.ids and row.units
    }
    tokenizer = plan.base.tokenizer()
    teacher = Classifier(plan.teacher) if plan.teacher else None
    recipe = plan.recipe
    train_items = items(
        label_set.paragraphs("train"), tokenizer, codebook.ids, teacher, recuts=recipe.recut, noise=recipe.noise
    )
    network = fit(train_items, plan.base, recipe, labels=len(codebook.ids), quiet=quiet)
    with registry.new_version(version) as folder:
        export(network, folder)
        check_parity(network, folder, [i.window for i in train_items[:32]], tokenizer.vocabulary_size)
        (folder / artifact.TOKENIZER).write_text(plan.base.tokenizer_json(), encoding="utf-8")
        (folder / artifact.CODEBOOK).write_bytes(codebook_file)
        (folder / artifact.RECIPE).write_text(plan.recipe.toml(), encoding="utf-8")
        _seal(folder, _manifest(version, label_set, codebook.ids, plan), label_set, suite, coders)
    return registry.models / version


def _check(plan: Plan, registry: Registry, version: str, label_set: LabelSet, labels: Sequence[str]) -> None:
    """What would fail after the training fails before it. Raises TrainingError."""
    if (registry.models / version).exists():
        raise TrainingError(f"{registry.models / version} exists already: a version is never changed")
    try:
        _manifest(version, label_set, labels, plan)
    except ValidationError as error:
        raise TrainingError(f"{version!r} is no name for a version: letters, digits, dots, plus and minus") from error
    if plan.teacher and plan.teacher.manifest.labels != tuple(labels):
        raise TrainingError(
            f"the teacher knows {', '.join(plan.teacher.manifest.labels)}; the codebook has {', '.join(labels)}"
        )
    refuse_leaks(label_set)
    check_positives(label_set.paragraphs("validation"), labels)
    if not label_set.examples["test"]:
        raise TrainingError("the test split is empty: there would be nothing to measure on")


def _seal(folder: Path, manifest: Manifest, label_set: LabelSet, suite: Sequence[Pair], coders: dict[str, float]) -> None:
    """Calibrate, evaluate and describe the version in `folder`, each step by the classifier that the one before made.

    `coders`: F1 of the blind coders among themselves, to stand beside the model's.
    """
    for name in (artifact.METRICS, artifact.GOLDEN, artifact.CARD):
        (folder / name).write_text("{}\n", encoding="utf-8")
    validation = label_set.paragraphs("validation")
    rule = calibrate(scored(_classifier(folder, manifest), validation), manifest.labels)
    sealed = manifest.model_copy(update={"decision": rule})
    calibrated = _classifier(folder, sealed)
    metrics: dict[str, Any] = {
        "validation": evaluate(calibrated, label_set.paragraphs("validation")),
        "test": evaluate(calibrated, label_set.paragraphs("test")),
        "behaviour": behave(calibrated, suite) if suite else None,
        "coders_f1": coders,
    }
    (folder / artifact.METRICS).write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    (folder / artifact.GOLDEN).write_text(golden(calibrated, validation), encoding="utf-8")
    (folder / artifact.CARD).write_text(card.render(sealed, metrics), encoding="utf-8")
    write_manifest(folder, sealed)


def _classifier(folder: Path, manifest: Manifest) -> Classifier:
    write_manifest(folder, manifest)
    return Classifier(read_artifact(folder))


def scored(classifier: Classifier, paragraphs: Sequence[Paragraph]) -> list[Scored]:
    """Each paragraph with the logits of its sentences as they were annotated."""
    logits = classifier.sentence_logits([[s.text for s in p.sentences] for p in paragraphs])
    return [Scored(p, of_labels) for p, (of_labels, _) in zip(paragraphs, logits, strict=True)]


def _manifest(version: str, label_set: LabelSet, labels: Sequence[str], plan: Plan) -> Manifest:
    """The manifest before calibration: a rule that passes logits through."""
    identity = LabelRule(slope=1, spread=0, intercept=0, sentence_slope=1, sentence_intercept=0, threshold=0.5)
    rows = tuple((0.0,) * (len(labels) + 1) for _ in range(len(labels) + 1))
    return Manifest(
        format=1,
        name=NAME,
        version=version,
        language=LANGUAGE,
        labels=tuple(labels),
        decision=DecisionRule(labels=dict.fromkeys(labels, identity), single_label=rows, unsure_below=0.0),
        base_model=BaseModelEntry(name=plan.base.name, sha256=plan.base.sha256),
        teacher_sha256=plan.teacher.sha256 if plan.teacher else None,
        label_files=label_set.digests,
        seed=plan.recipe.seed,
        files={},
    )
