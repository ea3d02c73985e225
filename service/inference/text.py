"""Text to paragraphs to sentences, as half-open spans of Unicode code points into the text as it was sent.

Nothing is normalised and nothing is lost: every character is in a paragraph or is white space between two.

Paragraphs are parted by blank lines. A text without any blank line is parted by its line breaks, unless it is
hard-wrapped (mail, plain-text wires): then a new paragraph begins at an indented line or after a short line that ends
a sentence. Sentences are nupunkt's (Bommarito, Katz and Bommarito 2025, arXiv 2504.04131); a line break inside a
paragraph ends a sentence only where the paragraph is not hard-wrapped, as after a headline. What is no prose, a thousand
characters and more without white space, is a sentence by itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from nupunkt import sent_spans

_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_SENTENCE_END = re.compile(r"[.!?…:;。！？][\"'”’»)\]]*$")

# From every full stop nupunkt reads on to the end of what has no white space: without end, that takes quadratic time.
_ENDLESS = re.compile(r"(?<!\S)\S{1000,}")

# A hard-wrapped text has most of its lines close under one width; these are the widths that mail and wires use.
_MIN_WRAP_WIDTH, _MAX_WRAP_WIDTH = 40, 100


@dataclass(frozen=True, slots=True)
class Span:
    """`text[start:end]`, in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParagraphSpan(Span):
    """A paragraph and its sentences, which lie inside it in order and leave out only white space."""

    sentences: tuple[Span, ...]


def split_paragraphs(text: str) -> list[ParagraphSpan]:
    """The paragraphs of `text` in order; an empty list for a blank text.

    For all of them `text[p.start:p.end].strip() == text[p.start:p.end] != ""`, and what lies between is white space.
    """
    blocks = _blocks(text, _lines(text))
    hard_wrapped = _is_hard_wrapped(text, blocks)
    if len(blocks) == 1:
        blocks = _wrapped_parts(text, blocks[0]) if hard_wrapped else [[line] for line in blocks[0]]
    return [_paragraph(text, block, hard_wrapped=hard_wrapped) for block in blocks]


def join(sentences: Sequence[str]) -> tuple[str, ParagraphSpan]:
    """A paragraph's text from its sentences, with one space between two, and where they lie in it."""
    spans: list[Span] = []
    start = 0
    for sentence in sentences:
        spans.append(Span(start, start + len(sentence)))
        start += len(sentence) + 1
    return " ".join(sentences), ParagraphSpan(0, max(0, start - 1), tuple(spans))


def _lines(text: str) -> list[Span]:
    breaks = [(match.start(), match.end()) for match in _LINE_BREAK.finditer(text)]
    edges = [(0, 0), *breaks, (len(text), len(text))]
    return [Span(before[1], after[0]) for before, after in pairwise(edges)]


def _blocks(text: str, lines: list[Span]) -> list[list[Span]]:
    """Runs of lines that are not blank."""
    blocks: list[list[Span]] = [[]]
    for line in lines:
        if text[line.start : line.end].strip():
            blocks[-1].append(line)
        elif blocks[-1]:
            blocks.append([])
    return blocks if blocks[-1] else blocks[:-1]


def _is_hard_wrapped(text: str, blocks: list[list[Span]]) -> bool:
    """Most lines but the last of each block fill one width, and most of those break in the middle of a sentence."""
    inner = _inner_lines(text, blocks)
    if len(inner) < 2:
        return False
    width = max(len(line) for line in inner)
    if not _MIN_WRAP_WIDTH <= width <= _MAX_WRAP_WIDTH:
        return False
    full = [line for line in inner if len(line) >= 0.7 * width]
    open_ended = [line for line in full if not _SENTENCE_END.search(line)]
    return len(full) >= 0.6 * len(inner) and len(open_ended) >= 0.5 * len(full)


def _inner_lines(text: str, blocks: list[list[Span]]) -> list[str]:
    """All lines but the last of each block: where that ends says nothing of the width."""
    return [text[line.start : line.end].rstrip() for block in blocks for line in block[:-1]]


def _wrapped_parts(text: str, lines: list[Span]) -> list[list[Span]]:
    width = max(len(line) for line in _inner_lines(text, [lines]))
    parts = [[lines[0]]]
    for before, line in pairwise(lines):
        if _starts_paragraph(text, before, line, width):
            parts.append([])
        parts[-1].append(line)
    return parts


def _starts_paragraph(text: str, before: Span, line: Span, width: int) -> bool:
    if _indent(text, line) > _indent(text, before):
        return True
    ended = text[before.start : before.end].rstrip()
    return len(ended) < 0.7 * width and bool(_SENTENCE_END.search(ended))


def _indent(text: str, line: Span) -> int:
    content = text[line.start : line.end]
    return len(content) - len(content.lstrip())


def _paragraph(text: str, lines: list[Span], *, hard_wrapped: bool) -> ParagraphSpan:
    whole = _strip(text, lines[0].start, lines[-1].end)
    pieces = [whole] if hard_wrapped else [_strip(text, line.start, line.end) for line in lines]
    sentences = tuple(sentence for piece in pieces for sentence in _sentences(text, piece))
    return ParagraphSpan(whole.start, whole.end, sentences)


def _sentences(text: str, piece: Span) -> list[Span]:
    sentences: list[Span] = []
    start = piece.start
    for run in _ENDLESS.finditer(text, piece.start, piece.end):
        sentences += [*_prose(text, start, run.start()), Span(*run.span())]
        start = run.end()
    return sentences + _prose(text, start, piece.end)


def _prose(text: str, start: int, end: int) -> list[Span]:
    """The sentences of `text[start:end]`, none if it is blank."""
    spans = [_strip(text, start + first, start + last) for first, last in sent_spans(text[start:end])]
    return [span for span in spans if span.start < span.end]


def _strip(text: str, start: int, end: int) -> Span:
    content = text[start:end]
    return Span(start + len(content) - len(content.lstrip()), start + len(content.rstrip()))
