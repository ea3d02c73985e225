"""Sentence logits to a paragraph's scores, labels, single label, confidence, voice and evidence.

All numbers that decide are in `DecisionRule` and travel in the artifact; all but `unsure_below`, a choice, are fitted on
the validation split alone (`training.calibrate`). Calibration is Platt's (1999, "Probabilistic outputs for support vector
machines"), applied after the last step: what is calibrated is the paragraph's score and the single label's confidence,
not only the sentence's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Array = NDArray[np.float64]
Voice = Literal["own", "reported", "mixed"]
NONE = "none"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelRule(_Strict):
    """How one label's sentence logits `z` become probabilities and a decision.

    paragraph: `sigmoid(slope * max(z) + spread * (logsumexp(z) - max(z)) + intercept)`
    sentence: `sigmoid(sentence_slope * z + sentence_intercept)`
    """

    slope: float = Field(gt=0)
    spread: float = Field(ge=0)
    intercept: float
    sentence_slope: float = Field(gt=0)
    sentence_intercept: float
    threshold: float = Field(gt=0, lt=1, description="the paragraph carries the label at or over this probability")


class DecisionRule(_Strict):
    """`single_label`: multinomial logistic regression of the labels and `none`, the last class, on the paragraph's logits.

    Each row is one class: a weight per label, then the intercept.
    """

    labels: dict[str, LabelRule]
    single_label: tuple[tuple[float, ...], ...]
    unsure_below: float = Field(ge=0, le=1, description="confidence under which a reader should look for themselves")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sentence, by its index in the paragraph, that carries `label`."""

    sentence: int
    label: str
    score: float
    voice: Voice


@dataclass(frozen=True, slots=True)
class Decision:
    """What is said of one paragraph; probabilities are calibrated, rounded to 4 places."""

    label: str
    confidence: float
    unsure: bool
    labels: tuple[str, ...]
    voice: dict[str, Voice]
    scores: dict[str, float]
    evidence: tuple[Evidence, ...]


class Decider:
    """Applies one artifact's rule."""

    def __init__(self, labels: Sequence[str], rule: DecisionRule) -> None:
        self.labels = tuple(labels)
        self._classes = (*self.labels, NONE)
        self._unsure_below = rule.unsure_below
        rules = [rule.labels[label] for label in self.labels]
        self._slope = np.array([r.slope for r in rules])
        self._spread = np.array([r.spread for r in rules])
        self._intercept = np.array([r.intercept for r in rules])
        self._sentence_slope = np.array([r.sentence_slope for r in rules])
        self._sentence_intercept = np.array([r.sentence_intercept for r in rules])
        self._threshold = np.array([r.threshold for r in rules])
        self._single_label = np.array(rule.single_label)

    def decide(self, label_logits: Array, voice_logits: Array) -> Decision:
        """The decision on a paragraph from the logits `(sentences, labels)` of its sentences' labels and voices."""
        logits = self._paragraph_logits(label_logits)
        scores = sigmoid(logits)
        found = np.flatnonzero(np.round(scores, 4) >= self._threshold)
        evidence = self._evidence(label_logits, voice_logits, found)
        single = softmax(self._single_label[:, :-1] @ logits + self._single_label[:, -1])
        chosen = int(found[np.argmax(single[found])]) if len(found) else len(self.labels)
        confidence = round(float(single[chosen]), 4)
        return Decision(
            label=self._classes[chosen],
            confidence=confidence,
            unsure=confidence < self._unsure_below,
            labels=tuple(self.labels[i] for i in found),
            voice={self.labels[i]: _paragraph_voice(self.labels[i], evidence) for i in found},
            scores={label: round(float(score), 4) for label, score in zip(self.labels, scores, strict=True)},
            evidence=evidence,
        )

    def _paragraph_logits(self, label_logits: Array) -> Array:
        top = label_logits.max(axis=0)
        spread = np.log(np.exp(label_logits - top).sum(axis=0))
        return np.asarray(self._slope * top + self._spread * spread + self._intercept)

    def _evidence(self, label_logits: Array, voice_logits: Array, found: NDArray[np.intp]) -> tuple[Evidence, ...]:
        """Per label found, the strongest sentence and every other that would carry the label by itself."""
        alone = sigmoid(self._slope * label_logits + self._intercept)
        scores = sigmoid(self._sentence_slope * label_logits + self._sentence_intercept)
        chosen: list[Evidence] = []
        for i in found:
            strongest = int(label_logits[:, i].argmax())
            for sentence in np.flatnonzero(alone[:, i] >= self._threshold[i]).tolist() or [strongest]:
                voice: Voice = "reported" if voice_logits[sentence, i] > 0 else "own"
                chosen.append(Evidence(sentence, self.labels[i], round(float(scores[sentence, i]), 4), voice))
        return tuple(sorted(chosen, key=lambda e: (-e.score, e.sentence, e.label)))


def _paragraph_voice(label: str, evidence: tuple[Evidence, ...]) -> Voice:
    voices = {e.voice for e in evidence if e.label == label}
    return voices.pop() if len(voices) == 1 else "mixed"


def sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))
