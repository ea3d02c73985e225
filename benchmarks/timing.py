"""Contenders in turns, so that what else the machine does falls on all alike."""

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Predict = Callable[[Sequence[str]], object]


@dataclass(frozen=True, slots=True)
class Contender:
    """`texts`: how many of the texts a turn takes, fewer for the slow."""

    name: str
    predict: Predict
    texts: int


def rates(contenders: Sequence[Contender], texts: Sequence[str], *, rounds: int) -> dict[str, list[float]]:
    """Texts a second of each contender, one number a round. In a round all begin at the same of the shuffled texts."""
    texts = random.Random(0).sample(texts, len(texts))
    most = max(contender.texts for contender in contenders)
    for contender in contenders:
        contender.predict(texts[:64])
    measured: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(rounds):
        for contender in contenders:
            first = turn * most % max(1, len(texts) - most + 1)
            chosen = texts[first : first + contender.texts]
            start = time.perf_counter()
            contender.predict(chosen)
            measured[contender.name].append(len(chosen) / (time.perf_counter() - start))
    return measured


def ratio(rows: dict[str, list[float]], name: str, to: str) -> float:
    """Median over the rounds of one contender's rate over another's in the same round."""
    return statistics.median(a / b for a, b in zip(rows[name], rows[to], strict=True))
