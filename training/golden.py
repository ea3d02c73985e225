"""Golden texts: paragraphs of the validation split with the labels that the version gave them when it was made.

The service runs them before it serves a version, since hashes prove the files and only an inference proves the machine.
Paragraphs near a threshold are left out: another processor's arithmetic may put those on the other side.
"""

import json
from collections.abc import Sequence

from service.inference.classifier import Classifier

from .labels import Paragraph

_COUNT = 12
_MARGIN = 0.1


def golden(classifier: Classifier, paragraphs: Sequence[Paragraph]) -> str:
    """JSON: a list of `{"text", "labels"}`, up to two of each of the first sets of labels that occur."""
    rules = classifier.artifact.manifest.decision.labels
    chosen: list[dict[str, object]] = []
    per_kind: dict[tuple[str, ...], int] = {}
    for paragraph in paragraphs:
        if len(chosen) == _COUNT:
            break
        decision = classifier.classify(paragraph.text)[0].decision
        clear = all(abs(decision.scores[label] - rule.threshold) > _MARGIN for label, rule in rules.items())
        if clear and per_kind.get(decision.labels, 0) < 2:
            per_kind[decision.labels] = per_kind.get(decision.labels, 0) + 1
            chosen.append({"text": paragraph.text, "labels": list(decision.labels)})
    return json.dumps(chosen, ensure_ascii=False, indent=1) + "\n"
