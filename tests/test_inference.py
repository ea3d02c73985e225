"""From tokens to decisions: nothing cut, the same labels in every company, faults caught."""

import random

import numpy as np
import pytest

from service.inference.classifier import Classifier, check_text
from service.inference.decide import Decider, DecisionRule, LabelRule
from service.inference.encoder import bucket
from service.inference.errors import EncoderError, InputError
from service.inference.text import split_paragraphs
from service.inference.tokens import WINDOW_TOKENS, Window

PLAIN = "The ministry said on Monday that talks about grain would go on."


def test_no_token_is_dropped_however_long_the_text(tiny_classifier: Classifier) -> None:
    sentence = "the grain " * 700 + "talks."
    text = f"{PLAIN} {sentence} {PLAIN}"
    prepared = tiny_classifier.prepare(text)
    (windows,) = prepared.windows
    assert max(len(w.ids) for w in windows) <= WINDOW_TOKENS
    inside = np.concatenate([w.sentence_of[w.sentence_of >= 0] for w in windows])
    assert list(inside) == sorted(inside)
    counts = np.bincount(inside)
    assert counts[1] == 2 * 700 + 2
    assert counts[0] == counts[2]


def test_a_label_at_the_end_of_a_long_sentence_is_found(tiny_classifier: Classifier) -> None:
    text = "the city hall after lunch " * 120 + "puppets."
    scores = tiny_classifier.classify(text)[0].decision.scores
    plain = tiny_classifier.classify(text.replace("puppets", "rail"))[0].decision.scores
    assert scores["enemy_attribution"] > plain["enemy_attribution"]


def test_same_labels_whatever_shares_the_batch(shipped: Classifier) -> None:
    """2,000 texts in 50 random batchings, each text against its own answer when alone."""
    chance = random.Random(7)
    words = [
        "the",
        "army",
        "ministry",
        "heroes",
        "lied",
        "perhaps",
        "secret",
        "talks",
        "killed",
        "our",
        "enemy",
        "may",
        "deny",
        "river",
        "bread",
        "of",
        "and",
        "to",
        "in",
    ]
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 60))).capitalize() + "." for _ in range(2000)]
    alone = [shipped.classify(text)[0].decision for text in texts[:200]]
    whole = shipped.classify_many(texts)
    assert [p[0].decision for p in whole[:200]] == alone
    reference = [p[0].decision for p in whole]
    for _ in range(50):
        chosen = chance.sample(range(2000), chance.randint(1, 90))
        together = shipped.classify_many(texts[i] for i in chosen)
        assert [p[0].decision for p in together] == [reference[i] for i in chosen]


def test_evidence_lies_in_its_paragraph_and_labels_agree_with_scores(shipped: Classifier) -> None:
    text = "The fallen are immortal heroes of the nation. Officials refused to say how many died.\n\nIt may rain."
    spans = split_paragraphs(text)
    thresholds = {k: r.threshold for k, r in shipped.artifact.manifest.decision.labels.items()}
    for span, labelled in zip(spans, shipped.classify(text), strict=True):
        decision = labelled.decision
        assert set(decision.labels) == {k for k, score in decision.scores.items() if score >= thresholds[k]}
        assert set(decision.voice) == set(decision.labels) == {e.label for e in decision.evidence}
        assert all(0 <= e.sentence < len(span.sentences) for e in decision.evidence)
        assert (decision.label == "none") == (not decision.labels)
        assert decision.label in (*decision.labels, "none")
        assert [e.score for e in decision.evidence] == sorted((e.score for e in decision.evidence), reverse=True)


def test_a_text_without_tokens_carries_nothing(tiny_classifier: Classifier) -> None:
    (paragraph,) = tiny_classifier.classify("\u200b\u200b")
    assert paragraph.decision.labels == ()
    assert paragraph.decision.unsure


@pytest.mark.parametrize(
    ("text", "oddity"),
    [
        ("Всё будет хорошо, сказал министр журналистам на встрече в понедельник.", "unsupported_language"),
        ("Der Minister sagte am Montag, die Gespräche würden fortgesetzt.", "unsupported_language"),
        ("12.4 33.1 88,2 | 99-12 (44) 17:30 2024 3.3 4.1", "not_prose"),
        ("if (x[i] != 0) { y += a[i]*2; } /* 0x3f */", "not_prose"),
        ("Silence", "fragment"),
    ],
)
def test_what_is_no_english_prose_is_never_a_sure_label(shipped: Classifier, text: str, oddity: str) -> None:
    (paragraph,) = shipped.classify(text)
    assert paragraph.oddity == oddity
    assert paragraph.decision.unsure
    assert paragraph.decision.confidence <= 0.5


@pytest.mark.parametrize("text", [PLAIN, "Putin Warns NATO Over Missiles In Poland", "Kim Jong Un Meets Ri Il Hwan at Plant"])
def test_english_prose_is_not_odd(shipped: Classifier, text: str) -> None:
    assert shipped.classify(text)[0].oddity is None


@pytest.mark.parametrize(
    ("text", "reason"), [("", "empty"), (" \n", "empty"), ("a\x00b", "NUL character at 1"), ("ab\ud800", "surrogate at 2")]
)
def test_what_is_no_text_is_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_text(text)


@pytest.mark.parametrize("ids", [[101, 10**6, 102], [101, -1, 102]])
def test_ids_outside_the_vocabulary_are_refused(tiny_classifier: Classifier, ids: list[int]) -> None:
    """OpenVINO itself would return numbers."""
    window = Window(np.array(ids), np.array([-1, 0, -1]))
    with pytest.raises(EncoderError, match="vocabulary"):
        tiny_classifier.encode([window])


def test_windows_past_the_longest_are_refused() -> None:
    assert bucket(1) == 16
    assert bucket(WINDOW_TOKENS) == WINDOW_TOKENS
    with pytest.raises(EncoderError, match="longer"):
        bucket(WINDOW_TOKENS + 1)


def rule(**changes: float) -> LabelRule:
    values = {"slope": 1.0, "spread": 0.0, "intercept": 0.0, "sentence_slope": 1.0, "sentence_intercept": 0.0, "threshold": 0.5}
    return LabelRule(**{**values, **changes})


def decider(**changes: float) -> Decider:
    single = ((4.0, 0.0, 0.0), (0.0, 4.0, 0.0), (0.0, 0.0, 1.0))
    return Decider(["a", "b"], DecisionRule(labels={"a": rule(**changes), "b": rule()}, single_label=single, unsure_below=0.6))


def test_voice_is_mixed_when_evidence_disagrees() -> None:
    logits = np.array([[3.0, -3.0], [2.0, -3.0]])
    decision = decider().decide(logits, np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert decision.voice == {"a": "mixed"}
    assert [(e.sentence, e.voice) for e in decision.evidence] == [(0, "reported"), (1, "own")]


def test_sentences_that_carry_a_label_only_together_are_named_by_the_strongest() -> None:
    decision = decider(spread=5.0).decide(np.full((6, 2), -2.0) + np.eye(6, 2) * 0.5, np.zeros((6, 2)))
    assert decision.labels == ("a",)
    assert [e.sentence for e in decision.evidence] == [0]


def test_the_single_label_is_the_one_that_weighs_most() -> None:
    decision = decider().decide(np.array([[1.0, 3.0]]), np.zeros((1, 2)))
    assert decision.labels == ("a", "b")
    assert decision.label == "b"
    assert decision.confidence > 0.9
    assert not decision.unsure
