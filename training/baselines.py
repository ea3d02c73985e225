"""What a user would try first, trained on the same labels: it tells whether the transformer earns its keep.

Each takes paragraphs whole, and is calibrated on the validation split by the very code that calibrates the model.
"""

import random
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from service.inference.decide import Decider

from .calibrate import Scored, calibrate
from .labels import Example, LabelSet, Paragraph
from .metrics import Metrics, measure

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
        f"SetFit, {_BASE_MODEL}, tuned on {_SETFIT_PARAGRAPHS} paragraphs": setfit(label_set, labels, test),
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
    """Fit on train, calibrate on validation as the model is, measure on `test`. A baseline does not tell voices apart."""
    train, validation = label_set.paragraphs("train"), label_set.paragraphs("validation")
    model = OneVsRestClassifier(LogisticRegression(C=10.0, max_iter=2000))
    model.fit(features([p.text for p in train]), _carried(train, labels))
    held_out = model.decision_function(features([p.text for p in validation]))
    scored = [Scored(_whole(paragraph), row[None]) for paragraph, row in zip(validation, held_out, strict=True)]
    decider = Decider(labels, calibrate(scored, labels))
    no_voice = np.zeros((1, len(labels)))
    decisions = [decider.decide(row[None], no_voice) for row in model.decision_function(features([p.text for p in test]))]
    return measure(test, [replace(d, voice=dict.fromkeys(d.labels, "mixed")) for d in decisions], labels)


def _whole(paragraph: Paragraph) -> Paragraph:
    """The paragraph as one sentence, which is how a baseline sees it."""
    return Paragraph((Example(text=paragraph.text, labels=tuple(paragraph.labels), main=paragraph.main),))


def _carried(paragraphs: Sequence[Paragraph], labels: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([[label in p.labels for label in labels] for p in paragraphs])
