"""Versions, and baselines beside them, on one label file: what `paraframe evaluate` shows."""

from collections.abc import Sequence
from pathlib import Path

from service.inference.artifact import Artifact
from service.inference.classifier import Classifier

from .baselines import measure_baselines
from .behaviour import behave, read_suite
from .checks import without_leaking_feedback
from .errors import LabelError
from .labels import paragraphs, read_file, read_labels
from .metrics import Metrics, evaluate


def evaluate_all(artifacts: Sequence[Artifact], data: Path, labels_folder: Path, *, baselines: bool) -> dict[str, Metrics]:
    """The metrics of each version on the examples in `data`, with `behaviour` if there is a suite; then the baselines.

    Raises LabelError if there is nothing to measure on, or if the versions do not know the same labels.
    """
    labels = artifacts[0].manifest.labels
    for artifact in artifacts:
        if artifact.manifest.labels != labels:
            raise LabelError(f"{artifact.version} knows other labels than {artifacts[0].version}: measure them one by one")
    measured = paragraphs(example for _, example in read_file(data, labels=labels))
    if not measured:
        raise LabelError(f"{data} has no examples")
    pairs = read_suite(labels_folder)
    rows: dict[str, Metrics] = {}
    for artifact in artifacts:
        classifier = Classifier(artifact)
        rows[artifact.version] = {**evaluate(classifier, measured), "behaviour": behave(classifier, pairs) if pairs else None}
    if baselines:
        label_set = without_leaking_feedback(read_labels(labels_folder, labels=labels))
        rows |= measure_baselines(label_set, labels, measured)
    return rows
