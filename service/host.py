"""The model that is served, and how it changes: load, verify, try, then replace one reference.

A request takes the reference once and keeps it to its end, so no answer mixes versions. A version that fails any step
leaves the served one where it is.
"""

import asyncio
import logging
import threading

from .inference.classifier import Classifier
from .inference.errors import ParaframeError
from .inference.golden import try_golden
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
        self._refused: tuple[int, int] | None = None
        self._complaint = ""
        self.classifier = self._ready(registry.current())
        self._announce()

    def activate(self, version: str) -> None:
        """Serve `version`, and let the registry say so.

        Raises UnknownVersionError, ArtifactError, or ParaframeError if the registry cannot be written; then nothing changes.
        """
        with self._swapping:
            current = self.classifier
            ready = current if current.artifact.version == version else self._ready(version)
            self.registry.promote(version)
            if ready is not current:
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
                written = self.registry.written()
                if written == self._refused:  # said once; when the pointer is written anew it is tried anew
                    return
                self._refused = written
                version = self.registry.current()
                if version != self.classifier.artifact.version:
                    self.classifier = self._ready(version)
                    self._announce()
                self._refused, self._complaint = None, ""
            except Exception as error:  # noqa: BLE001 whatever it is, the served model stays, and the next one is followed
                self._log_once(str(error) if isinstance(error, ParaframeError) else repr(error))

    def _log_once(self, reason: str) -> None:
        if reason != self._complaint:
            self._complaint = reason
            _logger.error("keeping %s: %s", self.classifier.artifact.version, reason)

    def _ready(self, version: str) -> Classifier:
        classifier = Classifier(self.registry.read(version), threads=self._threads)
        try_golden(classifier)
        return classifier

    def _announce(self) -> None:
        artifact = self.classifier.artifact
        self._metrics.serving(artifact.version, artifact.sha256)
        _logger.info("serving %s (%s, %s)", artifact.version, artifact.sha256[:12], self.classifier.precision)
