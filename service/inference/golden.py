"""Golden texts: a version carries some with the labels that it gave them, and is tried on them before it serves."""

import json

from .artifact import GOLDEN
from .classifier import Classifier
from .errors import ArtifactError


def try_golden(classifier: Classifier) -> None:
    """Label the artifact's golden texts, which also warms up. Raises ArtifactError if any label differs."""
    golden = json.loads(classifier.artifact.contents[GOLDEN])
    results = classifier.classify_many(case["text"] for case in golden)
    for case, paragraphs in zip(golden, results, strict=True):
        found = list(paragraphs[0].decision.labels)
        if found != case["labels"]:
            raise ArtifactError(
                f"version {classifier.artifact.version} gives {found} to a golden text that has {case['labels']}"
            )
