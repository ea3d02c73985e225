"""That no short cut gives a label away: what length, function words or names alone tell is far from what the text tells.

Not nothing: in real news, too, long sentences and those that name adversaries carry more framings. A corpus in which a cue
stood for a label would show here as a view that comes near to the whole text.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from training.codebook import read_codebook
from training.labels import Example, read_labels

from .conftest import ROOT

LABELS = read_codebook(ROOT / "labels").ids
CORPUS = read_labels(ROOT / "labels", labels=LABELS)
TRAIN = [e for e in CORPUS.examples["train"] if e.kind != "own"]
HELD_OUT = [*CORPUS.examples["validation"], *CORPUS.examples["test"]]

# What binds a sentence together and says nothing of its matter; no negation, no modal verb: those are what it means.
FUNCTION_WORDS = frozenset(
    """
    a about after also an and are as at be been before by for from had has have he her his i if in into is it its of on or our out over she so
    than that the their them then there these they this those to under up was we were what when where which while who whom whose with you your
    """.split()  # noqa: SIM905 a list would take a page
)

View = Callable[[Sequence[str], Sequence[str]], tuple[Any, Any]]


def length(train: Sequence[str], held_out: Sequence[str]) -> tuple[Any, Any]:
    return tuple(
        np.array([[np.log1p(n), n / 50, (n / 50) ** 2] for n in (len(t.split()) for t in texts)]) for texts in (train, held_out)
    )  # type: ignore[return-value]


def function_words(train: Sequence[str], held_out: Sequence[str]) -> tuple[Any, Any]:
    """Their share of a sentence's words."""
    counts = CountVectorizer(vocabulary=sorted(FUNCTION_WORDS), token_pattern=r"\b\w+\b")
    return tuple(
        np.sqrt(counts.transform(texts).toarray() / np.array([[max(1, len(t.split()))] for t in texts]))
        for texts in (train, held_out)
    )  # type: ignore[return-value]


def names(train: Sequence[str], held_out: Sequence[str]) -> tuple[Any, Any]:
    """The words with a capital inside a sentence: persons, countries, parties, institutions."""
    capitals = [
        [" ".join(w for w in re.findall(r"[^\W\d_]+", t)[1:] if w[0].isupper()) for t in texts] for texts in (train, held_out)
    ]
    counts = CountVectorizer(min_df=3, token_pattern=r"\b\w+\b", binary=True).fit(capitals[0])
    return counts.transform(capitals[0]), counts.transform(capitals[1])


def whole_text(train: Sequence[str], held_out: Sequence[str]) -> tuple[Any, Any]:
    words = TfidfVectorizer(min_df=2, ngram_range=(1, 2)).fit(train)
    return words.transform(train), words.transform(held_out)


def carried(examples: Sequence[Example], label: str) -> Any:
    return np.array([label in example.labels for example in examples])


def told(view: View) -> dict[str, tuple[float, float]]:
    """Per label, area under the ROC curve and average precision of logistic regression on that view."""
    train, held_out = view([e.text for e in TRAIN], [e.text for e in HELD_OUT])
    result = {}
    for label in LABELS:
        scores = LogisticRegression(max_iter=1000).fit(train, carried(TRAIN, label)).decision_function(held_out)
        gold = carried(HELD_OUT, label)
        result[label] = float(roc_auc_score(gold, scores)), float(average_precision_score(gold, scores))
    return result


@pytest.fixture(scope="module")
def everything() -> dict[str, tuple[float, float]]:
    return told(whole_text)


@pytest.mark.parametrize("view", [length, function_words, names])
def test_a_view_without_the_matter_tells_little(view: View, everything: dict[str, tuple[float, float]]) -> None:
    for label, (area, precision) in told(view).items():
        assert area < 0.8, label
        assert precision < 0.67 * everything[label][1], label
