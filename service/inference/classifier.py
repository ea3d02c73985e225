"""Text to labelled paragraphs with one model version.

`prepare` and `finish` are pure functions of the text and the artifact; only `Encoder.run` between them may see several
texts at once, and its numbers for a window do not depend on the others. So the same text and model give the same labels
by every path.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import language
from .artifact import MODEL_BIN, MODEL_XML, TOKENIZER, Artifact
from .decide import Array, Decider, Decision
from .encoder import Encoder, Outputs
from .errors import ArtifactError, InputError
from .text import ParagraphSpan, join, split_paragraphs
from .tokens import Window, WindowTokenizer

# Unlike what the model learned from: its confidence means nothing there, so it never exceeds an even chance.
_ODD_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text, cut into paragraphs and those into windows."""

    text: str
    paragraphs: tuple[ParagraphSpan, ...]
    windows: tuple[tuple[Window, ...], ...]


@dataclass(frozen=True, slots=True)
class LabelledParagraph:
    """A paragraph, what was decided on it, and why not to trust that, if so (see `language.oddity`)."""

    span: ParagraphSpan
    decision: Decision
    oddity: str | None


class Classifier:
    """One model version, ready to label. Immutable."""

    def __init__(self, artifact: Artifact, *, threads: int | None = None) -> None:
        """Raises ArtifactError for a tokenizer or network that cannot be used, or that does not fit the labels."""
        self.artifact = artifact.without(MODEL_XML, MODEL_BIN, TOKENIZER)
        contents = artifact.contents
        self._tokenizer = WindowTokenizer(contents[TOKENIZER].decode(errors="surrogateescape"))
        self._encoder = Encoder(contents[MODEL_XML], contents[MODEL_BIN], threads=threads)
        self._decider = Decider(artifact.manifest.labels, artifact.manifest.decision)
        expected = 3 * len(artifact.manifest.labels)
        if self._encoder.outputs != expected:
            raise ArtifactError(f"the network has {self._encoder.outputs} outputs per token, not {expected}")

    @property
    def precision(self) -> str:
        """The arithmetic that the runtime chose for this processor, such as `bf16`."""
        return self._encoder.precision

    def classify(self, text: str) -> list[LabelledParagraph]:
        """The paragraphs of `text` in order, labelled. Raises InputError for what is no text."""
        return self.classify_many([text])[0]

    def classify_many(self, texts: Iterable[str]) -> list[list[LabelledParagraph]]:
        """As `classify`, for several texts in one pass over the network."""
        prepared = [self.prepare(text) for text in texts]
        outputs = iter(self.encode([w for p in prepared for windows in p.windows for w in windows]))
        return [self.finish(p, [next(outputs) for windows in p.windows for _ in windows]) for p in prepared]

    def prepare(self, text: str) -> Prepared:
        check_text(text)
        paragraphs = tuple(split_paragraphs(text))
        return Prepared(text, paragraphs, tuple(tuple(self._tokenizer.windows(text, p)) for p in paragraphs))

    def encode(self, windows: Sequence[Window]) -> list[Outputs]:
        """The network's outputs for each window: `(tokens, 3 * labels)`. Raises EncoderError."""
        return self._encoder.run(windows, vocabulary_size=self._tokenizer.vocabulary_size)

    def finish(self, prepared: Prepared, outputs: Sequence[Outputs]) -> list[LabelledParagraph]:
        """The labelled paragraphs, from the outputs of all windows of `prepared` in order."""
        remaining = iter(outputs)
        return [
            self._label(prepared.text, span, [(window, next(remaining)) for window in windows])
            for span, windows in zip(prepared.paragraphs, prepared.windows, strict=True)
        ]

    def read(self, paragraphs: Sequence[Sequence[str]]) -> list[list[tuple[Window, Outputs]]]:
        """The windows of paragraphs whose sentences are known, each with the network's outputs for its tokens."""
        cut = [self._tokenizer.windows(*join(sentences)) for sentences in paragraphs]
        outputs = iter(self.encode([window for windows in cut for window in windows]))
        return [[(window, next(outputs)) for window in windows] for windows in cut]

    def sentence_logits(self, paragraphs: Sequence[Sequence[str]]) -> list[tuple[Array, Array]]:
        """Label and voice logits, each `(sentences, labels)`, of paragraphs whose sentences are known.

        What calibration is fitted on; `finish` pools the same way.
        """
        return [
            self.pool(len(sentences), windows) for sentences, windows in zip(paragraphs, self.read(paragraphs), strict=True)
        ]

    def _label(self, text: str, span: ParagraphSpan, windows: Sequence[tuple[Window, Outputs]]) -> LabelledParagraph:
        decision = self._decider.decide(*self.pool(len(span.sentences), windows))
        oddity = language.oddity(text[span.start : span.end], supported=self.artifact.manifest.language)
        if oddity is not None:
            decision = replace(decision, confidence=min(decision.confidence, _ODD_CONFIDENCE), unsure=True)
        return LabelledParagraph(span, decision, oddity)

    def pool(self, sentences: int, windows: Sequence[tuple[Window, Outputs]]) -> tuple[Array, Array]:
        """The outputs for a paragraph's tokens to label and voice logits, each `(sentences, labels)`.

        Per label an average of its tokens' logits by learned weights, whose logarithms are the last third of the outputs.
        A sentence's tokens may be spread over windows.
        """
        labels = len(self._decider.labels)
        sentence_of = np.concatenate([window.sentence_of for window, _ in windows])
        tokens = np.concatenate([outputs for _, outputs in windows]).astype(np.float64)
        inside = sentence_of >= 0
        sentence_of, tokens = sentence_of[inside], tokens[inside]
        values = tokens[:, : 2 * labels]
        weights = np.exp(tokens[:, 2 * labels :])
        weights = np.hstack([weights, weights])  # a label's voice is read where the label is
        sums = np.zeros((sentences, 2 * labels))
        totals = np.zeros((sentences, 2 * labels))
        np.add.at(sums, sentence_of, weights * values)
        np.add.at(totals, sentence_of, weights)
        # A sentence of characters that the tokenizer drops has no token, and no logit: it says nothing.
        pooled = np.divide(sums, totals, out=np.full_like(sums, -10.0), where=totals > 0)
        return pooled[:, :labels], pooled[:, labels:]


def check_text(text: str) -> None:
    """Raises InputError for a blank text, NUL characters, or code points that are no characters."""
    if not text.strip():
        raise InputError("the text is empty")
    if "\x00" in text:
        raise InputError(f"the text has a NUL character at {text.index(chr(0))}: is it a binary file?")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"the text has a lone surrogate at {error.start}: it is not valid Unicode") from error
