"""Sentences to token windows: what the encoder reads at once.

A window holds whole sentences of one paragraph, as many as fit, so that each is read in its context. A sentence longer
than a window is continued in the next ones. No token of any text is dropped.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from .errors import ArtifactError
from .text import ParagraphSpan

WINDOW_TOKENS = 256  # with both special tokens; the length the sentence encoders of this family were trained at

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids `(tokens,)` and, for each, the index of its sentence in the paragraph, -1 for special tokens."""

    ids: Ids
    sentence_of: Ids


class WindowTokenizer:
    """A Hugging Face tokenizer, set up once and never reconfigured, since that is not safe across threads."""

    def __init__(self, tokenizer_json: str) -> None:
        """Raises ArtifactError for what is no tokenizer, or does not frame a text by two special tokens."""
        try:
            self._tokenizer = Tokenizer.from_str(tokenizer_json)
        except Exception as error:  # the library has no class of its own for it
            raise ArtifactError(f"the tokenizer cannot be read: {error}") from error
        self._tokenizer.no_truncation()  # sentence-transformers files cut at 128 tokens unless told otherwise
        self._tokenizer.no_padding()
        self._first, self._last = self._special_ids()

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def windows(self, text: str, paragraph: ParagraphSpan) -> list[Window]:
        """The windows of one paragraph of `text`, in order; every token of every sentence is in exactly one."""
        sentences = [text[span.start : span.end] for span in paragraph.sentences]
        encodings = self._tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
        return [self._window(pieces) for pieces in _fill(encodings)]

    def _window(self, pieces: list[tuple[int, list[int]]]) -> Window:
        ids = [self._first, *(token for _, tokens in pieces for token in tokens), self._last]
        sentence_of = [-1, *(index for index, tokens in pieces for _ in tokens), -1]
        return Window(np.array(ids, dtype=np.int64), np.array(sentence_of, dtype=np.int64))

    def _special_ids(self) -> tuple[int, int]:
        ids = self._tokenizer.encode("").ids
        if len(ids) != 2:
            raise ArtifactError(f"the tokenizer frames a text by {len(ids)} special tokens, not by two")
        return ids[0], ids[1]


def _fill(encodings: list[Encoding]) -> list[list[tuple[int, list[int]]]]:
    """Sentences into windows of at most `WINDOW_TOKENS`, as (sentence index, its tokens)."""
    room = WINDOW_TOKENS - 2
    filled: list[list[tuple[int, list[int]]]] = [[]]
    used = 0
    for index, encoding in enumerate(encodings):
        ids = encoding.ids
        if used and used + len(ids) > room:
            filled.append([])
            used = 0
        for start in range(0, len(ids), room):
            piece = ids[start : start + room]
            if start:
                filled.append([])
                used = 0
            filled[-1].append((index, piece))
            used += len(piece)
    return filled
