"""What an exported model gets right, measured through the serving code: the numbers of every table.

Definitions are those of `sklearn.metrics`, except that the F1 of a label that is neither there nor found is 1; ECE is the
expected calibration error over ten equal bins (Naeini et al. 2015). Intervals are 95% bootstrap intervals over documents.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, confusion_matrix, precision_score, recall_score

from service.inference.classifier import Classifier, LabelledParagraph
from service.inference.decide import NONE, Decision

from .labels import Paragraph

_RESAMPLES = 1000
Metrics = dict[str, Any]


def evaluate(classifier: Classifier, paragraphs: Sequence[Paragraph]) -> Metrics:
    """Every metric of `classifier` on labelled paragraphs."""
    results = classifier.classify_many(p.text for p in paragraphs)
    decisions = [labelled[0].decision for labelled in results]
    measured = measure(paragraphs, decisions, classifier.artifact.manifest.labels)
    return {**measured, "evidence": _evidence(classifier, [(p.text, r[0]) for p, r in zip(paragraphs, results, strict=True)])}


def _evidence(classifier: Classifier, labelled: Sequence[tuple[str, LabelledParagraph]]) -> Metrics:
    """Whether evidence is what carries a label: without it the label goes, without as many other sentences it stays."""
    texts: list[str] = []
    asked: list[str] = []
    for text, paragraph in labelled:
        sentences = [text[s.start : s.end] for s in paragraph.span.sentences]
        for label in paragraph.decision.labels:
            named = {e.sentence for e in paragraph.decision.evidence if e.label == label}
            others = [i for i in range(len(sentences)) if i not in named]
            if len(others) > len(named):  # so that something is left either way
                without_named = " ".join(sentences[i] for i in others)
                dropped = set(others[: len(named)])
                texts += [without_named, " ".join(s for i, s in enumerate(sentences) if i not in dropped)]
                asked.append(label)
    answers = iter([r[0].decision.labels for r in classifier.classify_many(texts)])
    held = [(label not in next(answers), label in next(answers)) for label in asked]
    return {
        "n": len(held),
        "drops_without": sum(gone for gone, _ in held) / len(held) if held else None,
        "stays_without_others": sum(stayed for _, stayed in held) / len(held) if held else None,
    }


def measure(paragraphs: Sequence[Paragraph], decisions: Sequence[Decision], labels: Sequence[str]) -> Metrics:
    """The metrics of any decisions, of this model or a baseline, on labelled paragraphs."""
    gold = np.array([[label in p.labels for label in labels] for p in paragraphs])
    found = np.array([[label in d.labels for label in labels] for d in decisions])
    scores = np.array([[d.scores[label] for label in labels] for d in decisions])
    best = [best_threshold(*of_label) for of_label in zip(scores.T, gold.T, strict=True)]
    low, high = _interval(gold, found, [p.doc_id for p in paragraphs])
    return {
        "paragraphs": len(paragraphs),
        "macro_f1": _macro_f1(gold, found),
        "macro_f1_95": [low, high],
        "macro_f1_best_thresholds": _macro_f1(gold, scores >= best),  # the scores, apart from the thresholds
        "labels": {label: _label(gold[:, i], found[:, i], scores[:, i]) for i, label in enumerate(labels)},
        **_single(paragraphs, decisions, labels),
        "voice": _voice(paragraphs, decisions),
    }


def _label(gold: NDArray[np.bool_], found: NDArray[np.bool_], scores: NDArray[np.float64]) -> Metrics:
    return {
        "n": int(gold.sum()),
        "precision": float(precision_score(gold, found, zero_division=0)),
        "recall": float(recall_score(gold, found, zero_division=0)),
        "f1": float(_f1(gold, found)),
        "average_precision": float(average_precision_score(gold, scores)) if gold.any() else None,
        "ece": ece(scores, gold),
    }


def _single(paragraphs: Sequence[Paragraph], decisions: Sequence[Decision], labels: Sequence[str]) -> Metrics:
    """Accuracy, calibration and confusion of the single label, where it is known."""
    classes = [*labels, NONE]
    known = [(p.main, d) for p, d in zip(paragraphs, decisions, strict=True) if p.main is not None]
    confusion = confusion_matrix([m for m, _ in known], [d.label for _, d in known], labels=classes).tolist() if known else None
    right = np.array([main == d.label for main, d in known], dtype=bool)
    sure = np.array([not d.unsure for _, d in known], dtype=bool)
    confidence = np.array([d.confidence for _, d in known])
    return {
        "single_label_accuracy": _share(right),
        "confidence_ece": ece(confidence, right) if known else None,
        "sure_share": _share(sure),
        "sure_accuracy": _share(right[sure]),
        "unsure_accuracy": _share(right[~sure]),
        "confusion": {
            "classes": classes,
            "rows_are_coded": confusion,
        },
    }


def _voice(paragraphs: Sequence[Paragraph], decisions: Sequence[Decision]) -> Metrics:
    """How often own and reported are told apart, where both the human and the model decide for one of them."""
    right = [
        voices == {decision.voice[label]}
        for paragraph, decision in zip(paragraphs, decisions, strict=True)
        for label in decision.labels
        for voices in [{s.voice[label] for s in paragraph.sentences if label in s.voice}]
        if len(voices) == 1 and "mixed" not in voices and decision.voice[label] != "mixed"
    ]
    return {"n": len(right), "accuracy": sum(right) / len(right) if right else None}


def _share(those: NDArray[np.bool_]) -> float | None:
    return float(those.mean()) if len(those) else None


def best_threshold(probabilities: NDArray[np.float64], carried: NDArray[np.bool_]) -> float:
    """The threshold at or over which F1 is highest; infinite where nothing carries the label."""
    if not carried.any():
        return np.inf
    order = np.argsort(-probabilities)
    ordered, hits = probabilities[order], np.cumsum(carried[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + carried.sum())
    f1[:-1][ordered[:-1] == ordered[1:]] = 0.0  # a threshold takes equal probabilities all or none
    return float(ordered[int(f1.argmax())])


def ece(stated: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: the mean gap between stated probability and how often it is right."""
    bin_of = np.minimum((stated * bins).astype(int), bins - 1)
    gaps = np.bincount(bin_of, stated, bins) - np.bincount(bin_of, right, bins)
    return float(np.abs(gaps).sum() / max(1, len(stated)))


def _macro_f1(gold: NDArray[np.bool_], found: NDArray[np.bool_]) -> float:
    return float(np.mean(_f1(gold, found)))


def _f1(gold: NDArray[np.bool_], found: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Of each column."""
    both = (gold & found).sum(axis=0)
    total = gold.sum(axis=0) + found.sum(axis=0)
    return np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0)


def _interval(gold: NDArray[np.bool_], found: NDArray[np.bool_], doc_ids: Sequence[str]) -> tuple[float, float]:
    rows: dict[str, list[int]] = defaultdict(list)
    for i, doc_id in enumerate(doc_ids):
        rows[doc_id].append(i)
    groups = list(rows.values())
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(_RESAMPLES):
        chosen = [i for k in rng.integers(len(groups), size=len(groups)) for i in groups[k]]
        samples.append(_macro_f1(gold[chosen], found[chosen]))
    low, high = np.percentile(samples, [2.5, 97.5])
    return float(low), float(high)
