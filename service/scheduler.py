"""One inference thread for all requests: admission in tokens, micro-batches of like lengths, supervision.

Requests take turns: each batch begins with windows of the one whose turn it is, all of one length bucket, and is filled up
with such windows of the others that have the same model; so a short request does not wait for a long one. A request that is
cancelled (`routes` does, when the client is gone or the deadline over) leaves the queue with what it still had there. If a
batch fails, its windows are run one by one, so that only a bad one fails.
"""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from .errors import ApiError
from .inference.classifier import Classifier
from .inference.encoder import Outputs, bucket, most_rows
from .inference.errors import EncoderError
from .inference.tokens import Window
from .metrics import Metrics

# A batch takes some ten milliseconds. A runtime that is silent for this long hangs, and the service is not ready.
HUNG_AFTER_SECONDS = 5.0
_JOBS_LOOKED_AT = 256  # for companions: bounds the time that choosing a batch takes


@dataclass(eq=False)
class _Job:
    """One request's windows on their way through the network; `waiting` holds, by bucket, the indices yet to run."""

    classifier: Classifier
    windows: Sequence[Window]
    done: "asyncio.Future[list[Outputs]]"
    loop: asyncio.AbstractEventLoop
    results: list[Outputs | None] = field(init=False)
    missing: int = field(init=False)
    waiting: dict[int, deque[int]] = field(init=False)
    abandoned: bool = False

    def __post_init__(self) -> None:
        self.results = [None] * len(self.windows)
        self.missing = len(self.windows)
        self.waiting = defaultdict(deque)
        for index, window in enumerate(self.windows):
            self.waiting[bucket(len(window.ids))].append(index)

    def take(self, length: int, most: int) -> list[int]:
        """Remove up to so many windows of that bucket from what waits."""
        indices = self.waiting.get(length, deque())
        taken = [indices.popleft() for _ in range(min(most, len(indices)))]
        if not indices:
            self.waiting.pop(length, None)
        return taken


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A window that is about to run."""

    job: _Job
    index: int


class Scheduler:
    """Start it once, submit from the event loop, stop it at the end."""

    def __init__(self, *, max_waiting_tokens: int, metrics: Metrics) -> None:
        self._max_waiting_tokens = max_waiting_tokens
        self._metrics = metrics
        self._admitted_tokens = 0  # only touched on the event loop
        self._queue: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._batch_started: float | None = None
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what still waits fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout=HUNG_AFTER_SECONDS)
        self._fail_waiting()

    @property
    def healthy(self) -> bool:
        """Whether the thread is alive and not stuck in a batch."""
        started = self._batch_started
        return self._thread.is_alive() and (started is None or time.monotonic() - started < HUNG_AFTER_SECONDS)

    @contextmanager
    def admitted(self, tokens: int) -> Iterator[None]:
        """Room for so many tokens while the block runs. Raises ApiError 429 at once if there is none.

        No request takes more than half of the room: it shares its turns with the others, so a long one does not lock them
        out, and whatever its size it is taken while nothing waits.
        """
        tokens = min(tokens, (self._max_waiting_tokens + 1) // 2)
        if self._admitted_tokens + tokens > self._max_waiting_tokens:
            self._metrics.rejected.inc()
            raise ApiError(429, "overloaded", "more work is waiting than can be done soon; try again", retry_after=1)
        self._reserve(tokens)
        try:
            yield
        finally:
            self._reserve(-tokens)

    def _reserve(self, tokens: int) -> None:
        self._admitted_tokens += tokens
        self._metrics.waiting_tokens.set(self._admitted_tokens)

    async def run(self, classifier: Classifier, windows: Sequence[Window], *, first: bool = False) -> list[Outputs]:
        """The network's outputs for each window; with `first`, before all that waits, which is for one probe at a time.

        Raises EncoderError, or ApiError if the thread is gone.
        """
        if not windows:
            return []
        loop = asyncio.get_running_loop()
        job = _Job(classifier, windows, loop.create_future(), loop)
        with self._changed:
            if self._stopping or not self._thread.is_alive():
                raise _cannot_infer()
            if first:
                self._queue.appendleft(job)
            else:
                self._queue.append(job)
            self._changed.notify()
        try:
            return await job.done
        finally:
            job.abandoned = True

    def _run(self) -> None:
        try:
            while batch := self._next_batch():
                self._batch_started = time.monotonic()
                self._supervised(batch)
                self._metrics.batch_seconds.observe(time.monotonic() - self._batch_started)
                self._batch_started = None
        finally:
            self._fail_waiting()

    def _supervised(self, batch: list[_Chosen]) -> None:
        """If the thread itself is to end, the requests of its last batch are answered."""
        try:
            self._infer(batch)
        except BaseException:
            for job in {chosen.job for chosen in batch}:
                _settle(job, _cannot_infer())
            raise

    def _next_batch(self) -> list[_Chosen]:
        """Windows to run together; empty when stopping."""
        with self._changed:
            while True:
                while self._queue and (self._queue[0].abandoned or not self._queue[0].waiting):
                    self._queue.popleft()
                if self._stopping:
                    return []
                if self._queue:
                    return self._take()
                self._changed.wait()

    def _take(self) -> list[_Chosen]:
        leading = self._queue[0]
        length = next(iter(leading.waiting))
        room = most_rows(length)
        batch: list[_Chosen] = []
        for job in islice(self._queue, _JOBS_LOOKED_AT):
            if job.classifier is leading.classifier and not job.abandoned:
                taken = job.take(length, room - len(batch))
                batch += [_Chosen(job, index) for index in taken]
            if len(batch) == room:
                break
        self._queue.rotate(-1)  # the next batch is led by the next request
        return batch

    def _infer(self, batch: list[_Chosen]) -> None:
        classifier = batch[0].job.classifier
        try:
            outputs = classifier.encode([chosen.job.windows[chosen.index] for chosen in batch])
        except Exception as error:  # noqa: BLE001 whatever it is, the request is answered and the thread goes on
            if len(batch) > 1:
                for chosen in batch:
                    self._infer([chosen])
                return
            _settle(batch[0].job, error if isinstance(error, EncoderError) else _unforeseen(error))
            return
        for chosen, output in zip(batch, outputs, strict=True):
            job = chosen.job
            job.results[chosen.index] = output
            job.missing -= 1
            if not job.missing:
                _settle(job, None)

    def _fail_waiting(self) -> None:
        with self._changed:
            waiting, self._queue = list(self._queue), deque()
        for job in waiting:
            _settle(job, _cannot_infer())


def _settle(job: _Job, error: Exception | None) -> None:
    """Resolve the job's future on its own loop; a job that nobody waits for any more is let go."""

    def resolve() -> None:
        if job.done.done():
            return
        if error is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result([output for output in job.results if output is not None])

    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(resolve)


def _unforeseen(error: Exception) -> EncoderError:
    failure = EncoderError("inference failed in an unforeseen way")
    failure.__cause__ = error
    return failure


def _cannot_infer() -> ApiError:
    return ApiError(503, "unavailable", "the service is stopping or cannot infer", retry_after=1)
