"""Misspellings as hasty hands make them: real text has them, and a label must not hang on one letter."""

import random

_SHARE = 0.12  # of the longer words
_SHORTEST = 5


def misspell(text: str, chance: random.Random) -> str:
    """The text with some of its words misspelt inside: two letters exchanged, one left out, one doubled."""
    return " ".join(_misspelt(word, chance) if chance.random() < _SHARE else word for word in text.split(" "))


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
