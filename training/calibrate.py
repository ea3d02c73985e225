"""Sentence logits on the validation split to the numbers that decide: `DecisionRule`."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from service.inference.decide import NONE, Array, DecisionRule, LabelRule, sigmoid

from .errors import TrainingError
from .labels import Paragraph

# The band in which a reader should look for themselves: where the single label is right less than two times in three.
_UNSURE_BELOW = 2 / 3
_MIN_POSITIVES = 5
_LEAST_SLOPE = 1e-3  # of a label that was not learned: a higher logit never means less


@dataclass(frozen=True, slots=True)
class Scored:
    """A labelled paragraph and the logits `(sentences, labels)` that the exported model gave its sentences."""

    paragraph: Paragraph
    logits: Array


def calibrate(scored: Sequence[Scored], labels: Sequence[str]) -> DecisionRule:
    """Fit everything on `scored`. Raises TrainingError if a label is too rare there to fit anything."""
    check_positives([s.paragraph for s in scored], labels)
    rules = {label: _label_rule(scored, column, label) for column, label in enumerate(labels)}
    logits = np.stack([_paragraph_logits(s.logits, list(rules.values())) for s in scored])
    return DecisionRule(
        labels=rules,
        single_label=_single_label(logits, [s.paragraph.main for s in scored], labels),
        unsure_below=_UNSURE_BELOW,
    )


def check_positives(paragraphs: Sequence[Paragraph], labels: Sequence[str]) -> None:
    """Raises TrainingError if there is too little in the validation split to fit anything on."""
    if not paragraphs:
        raise TrainingError("the validation split is empty: thresholds and calibration come from it")
    for label in labels:
        carried = sum(label in paragraph.labels for paragraph in paragraphs)
        if not _MIN_POSITIVES <= carried < len(paragraphs):
            raise TrainingError(
                f"of {len(paragraphs)} paragraphs of the validation split {carried} carry {label}: "
                f"at least {_MIN_POSITIVES} that do, and some that do not, are needed"
            )
    mains = {paragraph.main for paragraph in paragraphs}
    if missing := [name for name in (*labels, NONE) if name not in mains]:
        raise TrainingError(f"the validation split has no paragraph that mainly conveys {', '.join(missing)}")


def _label_rule(scored: Sequence[Scored], column: int, label: str) -> LabelRule:
    carried = np.array([label in s.paragraph.labels for s in scored])
    sentence_logits = np.concatenate([s.logits[:, column] for s in scored])
    sentence_carried = np.array([label in e.labels for s in scored for e in s.paragraph.sentences])
    (sentence_slope,), sentence_intercept = _logistic(sentence_logits[:, None], sentence_carried)
    features = np.stack([_top_and_spread(s.logits[:, column]) for s in scored])
    slope, spread, intercept = _paragraph_fit(features, carried)
    probabilities = sigmoid(features @ np.array([slope, spread]) + intercept)
    return LabelRule(
        slope=slope,
        spread=spread,
        intercept=intercept,
        sentence_slope=max(sentence_slope, _LEAST_SLOPE),
        sentence_intercept=sentence_intercept,
        threshold=_threshold(probabilities),
    )


def _paragraph_fit(features: Array, carried: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Slope, spread and intercept of the paragraph's logit, held between the maximum and the logsumexp of its sentences.

    Beyond these, what a few hundred paragraphs suggest of long ones is chance.
    """
    (slope, spread), intercept = _logistic(features, carried)
    if spread < 0:
        (slope,), intercept = _logistic(features[:, :1], carried)
        spread = 0.0
    elif spread > slope:
        (slope,), intercept = _logistic(features.sum(axis=1, keepdims=True), carried)
        spread = slope
    slope = max(slope, _LEAST_SLOPE)
    return slope, min(max(spread, 0.0), slope), intercept


def _logistic(features: Array, carried: NDArray[np.bool_]) -> tuple[list[float], float]:
    model = LogisticRegression(C=100.0, max_iter=1000).fit(features, carried)
    return [round(float(w), 6) for w in model.coef_[0]], round(float(model.intercept_[0]), 6)


def _top_and_spread(logits: Array) -> Array:
    top = logits.max()
    return np.array([top, np.log(np.exp(logits - top).sum())])


def _paragraph_logits(logits: Array, rules: Sequence[LabelRule]) -> Array:
    """As `decide.Decider` computes them, (labels,)."""
    features = [_top_and_spread(column) for column in logits.T]
    return np.array([r.slope * f[0] + r.spread * f[1] + r.intercept for r, f in zip(rules, features, strict=True)])


def _threshold(probabilities: Array) -> float:
    """The threshold at which F1 is expected to be highest if the probabilities are right.

    It is half of that F1 (Lipton, Elkan and Naryanaswamy 2014, "Optimal Thresholding of Classifiers to Maximize F1
    Measure"), and steadier than the threshold that happens to be best on a few hundred paragraphs.
    """
    ordered = np.sort(probabilities)[::-1]
    expected = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    return round(float(np.clip(ordered[int(expected.argmax())], 0.05, 0.95)), 4)


def _single_label(logits: Array, main: Sequence[str | None], labels: Sequence[str]) -> tuple[tuple[float, ...], ...]:
    """Multinomial logistic regression on the paragraphs whose single label is known; rows as in `DecisionRule`."""
    classes = [*labels, NONE]
    known = [(row, classes.index(label)) for row, label in zip(logits, main, strict=True) if label is not None]
    model = LogisticRegression(C=1.0, max_iter=2000).fit([row for row, _ in known], [label for _, label in known])
    rows = np.column_stack([model.coef_, model.intercept_])
    return tuple(tuple(round(float(w), 6) for w in row) for row in rows)
