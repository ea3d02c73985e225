"""What the model can be asked about: English prose. Everything else is said to be something else.

Most English is recognised by its function words, at no cost; what is not goes to py3langid, a port of langid.py
(Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool").
"""

import re
from dataclasses import dataclass
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

UNDETERMINED = "und"  # ISO 639-2: too little text to tell

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_FUNCTION_WORDS = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "also",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "before",
        "but",
        "by",
        "did",
        "do",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "more",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "than",
        "that",
        "the",
        "their",
        "them",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
# Languages of news; the rarer ones of py3langid's 100 and more mostly catch English headlines made of names.
_CANDIDATES = frozenset(
    [
        "ar",
        "az",
        "be",
        "bg",
        "bn",
        "bs",
        "ca",
        "cs",
        "da",
        "de",
        "el",
        "en",
        "es",
        "et",
        "fa",
        "fi",
        "fr",
        "he",
        "hi",
        "hr",
        "hu",
        "hy",
        "id",
        "it",
        "ja",
        "ka",
        "kk",
        "ko",
        "lt",
        "lv",
        "mk",
        "ms",
        "nl",
        "no",
        "pl",
        "pt",
        "ro",
        "ru",
        "sk",
        "sl",
        "sq",
        "sr",
        "sv",
        "sw",
        "th",
        "tr",
        "uk",
        "ur",
        "uz",
        "vi",
        "zh",
    ]
)
_SAMPLE = 4000  # characters that suffice to tell a language
_MIN_LETTERS = 20
_SURE = 0.75
_MIN_WORDS = 3


@dataclass(frozen=True, slots=True)
class Language:
    """`code`: ISO 639-1, or `und`. `supported`: whether the served model was trained on it."""

    code: str
    supported: bool


def detect(text: str, *, supported: str) -> Language:
    """The language of a document or paragraph."""
    code = _code(text[:_SAMPLE])
    return Language(code, supported=code == supported)


def oddity(text: str, *, supported: str) -> str | None:
    """Why a paragraph is unlike anything that the model was trained on, as a short code; None for ordinary prose."""
    sample = text[:_SAMPLE]
    visible = sum(not c.isspace() for c in sample)
    if sum(c.isalpha() for c in sample) < 0.6 * visible:
        return "not_prose"
    language = detect(sample, supported=supported)
    if not language.supported and language.code != UNDETERMINED:
        return "unsupported_language"
    if len(_WORD.findall(sample)) < _MIN_WORDS:
        return "fragment"
    return None


def _code(sample: str) -> str:
    words = _WORD.findall(sample.lower())
    hits = sum(word in _FUNCTION_WORDS for word in words)
    if hits >= 2 and hits >= 0.2 * len(words):
        return "en"
    if sum(c.isalpha() for c in sample) < _MIN_LETTERS:
        return UNDETERMINED
    code, probability = _identifier().classify(sample)
    return str(code) if probability >= _SURE and code != "zxx" else UNDETERMINED


@cache
def _identifier() -> LanguageIdentifier:
    """Of the candidates alone: an identifier that has merely been told its languages holds on to all, 25 MB more."""
    of_all = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    of_all.set_languages(_CANDIDATES)
    table, prior, classes = of_all.nb_ptc, of_all.nb_pc, of_all.nb_classes
    return LanguageIdentifier(
        table, prior, classes, of_all.tk_nextmove, of_all.tk_output, norm_probs=True, tk_row=of_all.tk_row
    )
