"""The model that is served, and how it changes: load, verify, try, then replace one reference.

A request takes the reference once and keeps it to its end, so no answer mixes versions. A version that fails any step
leaves the served one where it is.
"""

import asyncio
import json
import logging
import threading

from .inference.artifact import GOLDEN
from .inference.classifier import Classifier
from .inference.errors import ArtifactError, ParaframeError
from .inference.registry import Registry
from .metrics import Metrics

_logger = logging.getLogger("paraframe.host")
_POLL_SECONDS = 1.0


class ModelHost:
    def __init__(self, registry: Registry, *, threads: int | None, metrics: Metrics) -> None:
        self.registry = registry
        self._threads = threads
        self._metrics = metrics
        self._swapping = threading.Lock()
        self._refused: str | None = None
        self.classifier = self._ready(registry.current())
        self._announce()

    def activate(self, version: str) -> None:
        """Serve `version`, and let the registry say so. Raises UnknownVersionError or ArtifactError; then nothing changes."""
        with self._swapping:
            if self.classifier.artifact.version != version:
                ready = self._ready(version)
                self.registry.promote(version)
                self.classifier = ready
                self._announce()

    async def follow_pointer(self) -> None:
        """Serve what `paraframe promote` and `rollback` point to, without a restart. Runs until cancelled."""
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            await asyncio.to_thread(self._follow)

    def _follow(self) -> None:
        with self._swapping:
            try:
                version = self.registry.current()
                if version in (self.classifier.artifact.version, self._refused):
                    return
                self.classifier = self._ready(version)
                self._refused = None
                self._announce()
            except ParaframeError as error:
                self._refused = getattr(error, "version", None) or self._pointed()
                _logger.error("keeping %s: %s", self.classifier.artifact.version, error)  # noqa: TRY400 no trace wanted

    def _pointed(self) -> str | None:
        try:
            return self.registry.current()
        except ParaframeError:
            return None

    def _ready(self, version: str) -> Classifier:
        classifier = Classifier(self.registry.read(version), threads=self._threads)
        try_golden(classifier)
        return classifier

    def _announce(self) -> None:
        artifact = self.classifier.artifact
        self._metrics.serving(artifact.version, artifact.sha256)
        _logger.info("serving %s (%s, %s)", artifact.version, artifact.sha256[:12], self.classifier.precision)


def try_golden(classifier: Classifier) -> None:
    """Label the artifact's golden texts, which also warms up. Raises ArtifactError if any label differs."""
    golden = json.loads(classifier.artifact.contents[GOLDEN])
    results = classifier.classify_many(case["text"] for case in golden)
    for case, paragraphs in zip(golden, results, strict=True):
        found = list(paragraphs[0].decision.labels)
        if found != case["labels"]:
            raise ArtifactError(
                f"version {classifier.artifact.version} gives {found} to a golden text that has {case['labels']}"
            )
