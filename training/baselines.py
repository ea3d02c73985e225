"""What a user would try first, trained on the same labels: it tells whether the transformer earns its keep.

Each takes paragraphs whole, with thresholds from the validation split, as the model itself has.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from service.inference.decide import NONE, Decision

from .labels import LabelSet, Paragraph
from .metrics import Metrics, best_threshold, measure

Features = Callable[[Sequence[str]], object]

_BASE_MODEL = "all-MiniLM-L6-v2"
# SetFit is made for few examples: it learns from pairs of them, whose number grows with the square.
_SETFIT_PARAGRAPHS = 600
_SETFIT_STEPS = 120


def measure_baselines(label_set: LabelSet, labels: Sequence[str], test: Sequence[Paragraph]) -> dict[str, Metrics]:
    """The metrics of every baseline on `test`, by name."""
    return {
        "TF-IDF, logistic regression": tfidf(label_set, labels, test),
        f"frozen {_BASE_MODEL}, logistic regression": frozen_encoder(label_set, labels, test),
        f"SetFit, {_BASE_MODEL}": setfit(label_set, labels, test),
    }


def tfidf(label_set: LabelSet, labels: Sequence[str], test: Sequence[Paragraph]) -> Metrics:
    """Logistic regression on TF-IDF of words and pairs of words."""
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectorizer.fit([p.text for p in label_set.paragraphs("train")])
    return _measure(label_set, labels, test, vectorizer.transform)


def frozen_encoder(label_set: LabelSet, labels: Sequence[str], test: Sequence[Paragraph]) -> Metrics:
    """Logistic regression on the sentence embeddings of the untouched base model."""
    from sentence_transformers import SentenceTransformer

    from .base_models import resolve

    encoder = SentenceTransformer(resolve(_BASE_MODEL).source, device="cpu")
    return _measure(label_set, labels, test, lambda texts: encoder.encode(list(texts), show_progress_bar=False))


def setfit(label_set: LabelSet, labels: Sequence[str], test: Sequence[Paragraph]) -> Metrics:
    """Logistic regression on embeddings tuned contrastively (Tunstall et al. 2022, "Efficient Few-Shot Learning Without
    Prompts"): the tuning sees some hundred paragraphs, the regression all.
    """
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    from .base_models import resolve

    train = label_set.paragraphs("train")
    chosen = random.Random(0).sample(train, min(_SETFIT_PARAGRAPHS, len(train)))
    carried = _carried(chosen, labels).astype(int).tolist()
    model = SetFitModel.from_pretrained(resolve(_BASE_MODEL).source, multi_target_strategy="one-vs-rest", device="cpu")
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            batch_size=16,
            max_steps=_SETFIT_STEPS,
            seed=0,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        examples = Dataset.from_dict({"text": [p.text for p in chosen], "label": carried})
        with redirect_stdout(sys.stderr):  # it prints its progress, and standard output is for data
            Trainer(model=model, args=arguments, train_dataset=examples).train()
    return _measure(label_set, labels, test, lambda texts: model.encode(list(texts), show_progress_bar=False))


def _measure(label_set: LabelSet, labels: Sequence[str], test: Sequence[Paragraph], features: Features) -> Metrics:
    train, validation = label_set.paragraphs("train"), label_set.paragraphs("validation")
    model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=2000, class_weight="balanced"))
    model.fit(features([p.text for p in train]), _carried(train, labels))
    held_out = model.predict_proba(features([p.text for p in validation]))
    thresholds = [best_threshold(held_out[:, i], column) for i, column in enumerate(_carried(validation, labels).T)]
    scores = model.predict_proba(features([p.text for p in test]))
    return measure(test, [_decision(row, thresholds, labels) for row in scores], labels)


def _carried(paragraphs: Sequence[Paragraph], labels: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([[label in p.labels for label in labels] for p in paragraphs])


def _decision(scores: NDArray[np.float64], thresholds: Sequence[float], labels: Sequence[str]) -> Decision:
    found = [i for i, threshold in enumerate(thresholds) if scores[i] >= threshold]
    main = max(found, key=lambda i: float(scores[i] - thresholds[i]), default=None)
    return Decision(
        label=NONE if main is None else labels[main],
        confidence=float(1 - scores.max() if main is None else scores[main]),
        unsure=False,
        labels=tuple(labels[i] for i in found),
        voice={labels[i]: "mixed" for i in found},  # a baseline does not tell voices apart
        scores={label: float(score) for label, score in zip(labels, scores, strict=True)},
        evidence=(),
    )
