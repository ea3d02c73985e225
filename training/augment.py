"""The same sentences once more in another guise: what is to be learned of them stays the same."""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby

from .labels import Example, Paragraph

_MISSPELT_WORDS = 0.12  # share of the longer words
_SHORTEST = 5
_SENTENCES = (1, 2, 3)  # of a paragraph in real news, and how often
_SHARES = (0.6, 0.25, 0.15)


def recut(paragraphs: Sequence[Paragraph], chance: random.Random, *, share: float) -> Iterator[Paragraph]:
    """A share of the documents of several paragraphs, with the ends of their paragraphs elsewhere.

    Where an author ends a paragraph is chance to a sentence's framing, and outlets differ in it.
    """
    for _, document in groupby(paragraphs, key=lambda p: p.doc_id):
        sentences = sorted((s for p in document for s in p.sentences), key=lambda s: s.position)
        if sentences[0].paragraph != sentences[-1].paragraph and chance.random() < share:
            yield from _runs(sentences, chance)


def _runs(sentences: Sequence[Example], chance: random.Random) -> Iterator[Paragraph]:
    start = 0
    while start < len(sentences):
        (length,) = chance.choices(_SENTENCES, _SHARES)
        yield Paragraph(tuple(sentences[start : start + length]))
        start += length


def misspell(text: str, chance: random.Random) -> str:
    """The text with some of its words misspelt inside: two letters exchanged, one left out, one doubled."""
    return " ".join(_misspelt(word, chance) if chance.random() < _MISSPELT_WORDS else word for word in text.split(" "))


def _misspelt(word: str, chance: random.Random) -> str:
    if len(word) < _SHORTEST or not word.isalpha():
        return word
    at = chance.randrange(1, len(word) - 2)
    return chance.choice(
        [
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
        ]
    )
