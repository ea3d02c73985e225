"""Agreement among the blind coders: Krippendorff's alpha and pairwise F1, per label and for voice, from the raw votes."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

from nltk.metrics.agreement import AnnotationTask

from .codebook import Codebook
from .labels import Example


class Agreement(NamedTuple):
    """`alpha`: Krippendorff's, nominal. `f1`: of all pairs of coders pooled. `units`: sentences coded twice or more."""

    alpha: float
    f1: float
    units: int


def agreement(examples: Iterable[Example], codebook: Codebook) -> dict[str, Agreement]:
    """Per label id, and for `voice` among sentences on whose label coders agree."""
    coded = [e for e in map(_blind, examples) if len(e.annotators) >= 2]
    table = {d.id: _of(coded, d.letter) for d in codebook.labels}
    table["voice"] = _voice(coded, [d.letter for d in codebook.labels])
    return table


def _blind(example: Example) -> Example:
    """Without the adjudicator, who knew what the others had said."""
    if not example.reason:
        return example
    return example.model_copy(update={"annotators": dict(list(example.annotators.items())[:-1])})


def _of(coded: Sequence[Example], letter: str) -> Agreement:
    votes = [(e.id, {coder: _says(codes, letter) for coder, codes in e.annotators.items()}) for e in coded]
    both = either = 0
    for _, by_coder in votes:
        for a, b in combinations(by_coder.values(), 2):
            both += 2 * (a and b)
            either += a + b
    return Agreement(_alpha(votes), both / either if either else 1.0, len(votes))


def _voice(coded: Sequence[Example], letters: Sequence[str]) -> Agreement:
    votes: list[tuple[str, dict[str, bool]]] = []
    same = pairs = 0
    for e in coded:
        for letter in letters:
            voices = {c: letter in codes for c, codes in e.annotators.items() if _says(codes, letter)}
            if len(voices) >= 2:
                votes.append((f"{e.id}-{letter}", voices))
                compared = list(combinations(voices.values(), 2))
                same += sum(a == b for a, b in compared)
                pairs += len(compared)
    return Agreement(_alpha(votes), same / pairs if pairs else 1.0, len(votes))


def _says(codes: Sequence[str], letter: str) -> bool:
    return letter in codes or letter.lower() in codes


def _alpha(votes: Iterable[tuple[str, dict[str, bool]]]) -> float:
    data = [(coder, unit, str(value)) for unit, by_coder in votes for coder, value in by_coder.items()]
    if len({value for _, _, value in data}) < 2:
        return 1.0  # no variation: nothing to disagree on
    return float(AnnotationTask(data=data).alpha())
