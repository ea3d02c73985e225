"""What `/metrics` tells, in a registry of this application's own, so that several can live in one process."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "paraframe_requests", "Answers, by route and status", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "paraframe_request_seconds", "Time to answer", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self.paragraphs = Counter("paraframe_paragraphs", "Paragraphs labelled, by label", ["label"], registry=self.registry)
        self.rejected = Counter("paraframe_rejected", "Requests refused for overload", registry=self.registry)
        self.waiting_tokens = Gauge("paraframe_waiting_tokens", "Admitted and not yet answered", registry=self.registry)
        self.batch_seconds = Histogram(
            "paraframe_batch_seconds", "Time of one inference", buckets=_SECONDS, registry=self.registry
        )
        self.model = Gauge("paraframe_model", "1 for the model served", ["version", "sha256"], registry=self.registry)

    def serving(self, version: str, sha256: str) -> None:
        self.model.clear()
        self.model.labels(version, sha256).set(1)

    def text(self) -> bytes:
        return generate_latest(self.registry)
