"""From a request to its answer: admit, cut, infer, compose. Knows the wire format, not the routes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from .errors import ApiError, from_refusal
from .inference import language
from .inference.classifier import Classifier, LabelledParagraph, check_text
from .inference.decide import NONE
from .inference.errors import ParaframeError
from .metrics import Metrics
from .scheduler import Scheduler
from .schemas import (
    ClassifyRequest,
    ClassifyResponse,
    ErrorResponse,
    EvidenceOut,
    LanguageOut,
    ModelRef,
    ParagraphOut,
    SummaryOut,
    WarningOut,
)
from .settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

# Real English has some four and a half characters a token; what is admitted is what is estimated, before any work.
_CHARS_PER_TOKEN = 4
_DOCUMENTS_AT_ONCE = 8  # of one batch: enough to fill the network's batches, few enough to leave others their turns
_THREADS = 3 * _DOCUMENTS_AT_ONCE  # two batches may fill the room of the scheduler; who comes next still finds a thread

_WARNINGS = {
    "unsupported_language": "not in a language that the model was trained on: its labels mean nothing there",
    "not_prose": "mostly numbers, code or symbols: its labels mean nothing there",
    "fragment": "too short to tell",
}


class Labeller:
    """Labels documents for requests, on one scheduler, with threads of its own: the service's other work has the usual ones."""

    def __init__(self, scheduler: Scheduler, settings: Settings, metrics: Metrics) -> None:
        self._scheduler = scheduler
        self._settings = settings
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(_THREADS, "labelling")
        self._probe: asyncio.Task[object] | None = None

    def stop(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check(self, text: str) -> None:
        """Raises ApiError 413 for a text that is too long, InputError for what is no text."""
        if len(text) > self._settings.max_text_chars:
            raise ApiError(413, "text_too_long", f"the text is longer than {self._settings.max_text_chars} characters")
        check_text(text)

    async def probe(self, classifier: Classifier) -> None:
        """A real inference, before all that waits. Whoever asks meanwhile shares it, so that asking costs nobody his turn."""
        if self._probe is None or self._probe.done():
            windows = classifier.prepare("The ministry said on Monday that talks would go on.").windows[0]
            self._probe = asyncio.ensure_future(self._scheduler.run(classifier, windows, first=True))
        await asyncio.shield(self._probe)

    async def label(self, requests: list[ClassifyRequest], classifier: Classifier) -> list[ClassifyResponse | ErrorResponse]:
        """An answer to each of these checked texts, in order; what fails, fails alone.

        Raises ApiError: 429 if they do not fit, all together; 503 if the service cannot infer at all.
        """
        failed: Exception
        with self._scheduler.admitted(_tokens(requests)):
            try:
                async with asyncio.TaskGroup() as group:  # if one raises, none goes on computing for nobody
                    turn = asyncio.Semaphore(_DOCUMENTS_AT_ONCE)
                    tasks = [group.create_task(self._label_or_error(request, classifier, turn)) for request in requests]
                return [task.result() for task in tasks]
            except* ApiError as errors:
                failed = errors.exceptions[0]
        raise failed  # not within `except*`: before Python 3.11.4 it came out wrapped in a group

    async def _label_or_error(
        self, request: ClassifyRequest, classifier: Classifier, turn: asyncio.Semaphore
    ) -> ClassifyResponse | ErrorResponse:
        try:
            async with turn:
                return await self._label(request, classifier)
        except ParaframeError as error:
            return ErrorResponse.model_validate(from_refusal(error).body())

    async def label_one(self, request: ClassifyRequest, classifier: Classifier) -> ClassifyResponse:
        """As `label`, for one request. Raises ApiError or ParaframeError."""
        with self._scheduler.admitted(_tokens([request])):
            return await self._label(request, classifier)

    async def _label(self, request: ClassifyRequest, classifier: Classifier) -> ClassifyResponse:
        prepared = await self._in_thread(classifier.prepare, request.text)
        outputs = await self._scheduler.run(classifier, [w for windows in prepared.windows for w in windows])
        paragraphs = await self._in_thread(classifier.finish, prepared, outputs)
        for labelled in paragraphs:
            self._metrics.paragraphs.labels(labelled.decision.label).inc()
        return await self._in_thread(compose, request, paragraphs, classifier)

    async def _in_thread(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The work's result. A thread cannot be stopped: cancelled, this ends with it, so that till then its room is taken."""
        begun = self._threads.submit(work, *args, **kwargs)
        done = asyncio.wrap_future(begun)
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            begun.cancel()  # unless it runs already
            await asyncio.wait({done})
            raise


def _tokens(requests: Sequence[ClassifyRequest]) -> int:
    """About how much work they are, known before any is done."""
    return sum(len(request.text) for request in requests) // _CHARS_PER_TOKEN + len(requests)


def compose(request: ClassifyRequest, paragraphs: list[LabelledParagraph], classifier: Classifier) -> ClassifyResponse:
    """The answer's body."""
    manifest = classifier.artifact.manifest
    found = language.detect(request.text, supported=manifest.language)
    counts = Counter(label for p in paragraphs for label in p.decision.labels or (NONE,))
    return ClassifyResponse(
        id=request.id,
        source=request.source,
        date=request.date,
        metadata=request.metadata,
        model=ModelRef(name=manifest.name, version=manifest.version, sha256=classifier.artifact.sha256),
        language=LanguageOut(code=found.code, supported=found.supported),
        paragraphs=[_paragraph(request.text, index, labelled) for index, labelled in enumerate(paragraphs)],
        summary=SummaryOut(paragraphs=len(paragraphs), counts={label: counts[label] for label in (*manifest.labels, NONE)}),
        warnings=_warnings(paragraphs),
    )


def _paragraph(text: str, index: int, labelled: LabelledParagraph) -> ParagraphOut:
    span, decision = labelled.span, labelled.decision
    evidence = []
    for item in decision.evidence:
        sentence = span.sentences[item.sentence]
        quoted = text[sentence.start : sentence.end]
        evidence.append(
            EvidenceOut(
                start=sentence.start,
                end=sentence.end,
                text=quoted,
                label=item.label,
                score=item.score,
                voice=item.voice,
            )
        )
    return ParagraphOut(
        index=index,
        start=span.start,
        end=span.end,
        text=text[span.start : span.end],
        label=decision.label,
        confidence=decision.confidence,
        unsure=decision.unsure,
        labels=list(decision.labels),
        voice=decision.voice,
        scores=decision.scores,
        evidence=evidence,
        truncated=False,
    )


def _warnings(paragraphs: list[LabelledParagraph]) -> list[WarningOut]:
    concerned: dict[str, list[int]] = {}
    for index, labelled in enumerate(paragraphs):
        if labelled.oddity is not None:
            concerned.setdefault(labelled.oddity, []).append(index)
    return [WarningOut(code=code, message=_WARNINGS[code], paragraphs=where) for code, where in concerned.items()]
