"""The routes: each takes a request apart, calls what does the work, and names the answer."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pydantic_core
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from pydantic import ValidationError

from . import pages
from .access import authorize
from .errors import ApiError, from_refusal, from_validation
from .host import ModelHost
from .inference.artifact import CODEBOOK, METRICS
from .inference.decide import NONE
from .inference.errors import InputError
from .schemas import (
    BatchRequest,
    BatchResponse,
    ClassifyRequest,
    ClassifyResponse,
    ErrorResponse,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    ModelList,
    ModelListItem,
    ModelOut,
)
from .work import Labeller

T = TypeVar("T")
_PROBE_SECONDS = 2.0


class _StrictRequest(Request):
    """JSON without NaN, infinity or lone surrogates, and of bounded depth: all of which Python's parser lets through."""

    async def json(self) -> Any:
        try:
            return pydantic_core.from_json(await self.body(), allow_inf_nan=False)
        except ValueError as error:
            raise ApiError(400, "invalid_json", f"the body is not JSON: {error}") from error


class _StrictRoute(APIRoute):
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            once = _StrictRequest(request.scope, request.receive)
            if request.method == "POST" and not _is_json(request) and await once.body():
                raise ApiError(415, "unsupported_media_type", "the body should be application/json")
            return await handler(once)

        return strict


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": description}
    for status, description in {
        400: "The body is not JSON",
        401: "No valid key",
        403: "The key lacks the scope",
        404: "Not found",
        408: "The body came too slowly",
        409: "The model version is refused",
        413: "Too long",
        415: "Not JSON",
        422: "Not of the shape that it should have, or a text that cannot be labelled",
        429: "Overloaded; see Retry-After",
        500: "A fault of the service",
        503: "Unavailable; see Retry-After",
    }.items()
}

router = APIRouter(route_class=_StrictRoute, dependencies=[Depends(authorize)], responses=_PROBLEMS)


@router.post("/v1/classify", tags=["label"])
async def classify(body: ClassifyRequest, request: Request) -> ClassifyResponse:
    """Label the paragraphs of a document."""
    state = request.app.state
    state.labeller.check(body.text)
    return await _within_limits(state.labeller.label_one(body, state.host.classifier), request)


@router.post("/v1/classify/batch", tags=["label"])
async def classify_batch(body: BatchRequest, request: Request) -> BatchResponse:
    """Label many documents; a bad one fails alone, in its place."""
    state = request.app.state
    if len(body.documents) > state.settings.max_batch_documents:
        raise ApiError(413, "batch_too_long", f"a batch holds at most {state.settings.max_batch_documents} documents")
    parsed = [_parse(document, state.labeller) for document in body.documents]
    good = [document for document in parsed if isinstance(document, ClassifyRequest)]
    answers = iter(await _within_limits(state.labeller.label(good, state.host.classifier), request) if good else [])
    return BatchResponse(results=[d if isinstance(d, ErrorResponse) else next(answers) for d in parsed])


def _parse(document: Any, labeller: Labeller) -> ClassifyRequest | ErrorResponse:
    try:
        parsed = ClassifyRequest.model_validate(document)
        labeller.check(parsed.text)
        return parsed
    except ValidationError as error:
        problem = from_validation(error, "the document does not have the shape that it should")
    except InputError as error:
        problem = from_refusal(error)
    except ApiError as error:
        problem = error
    return ErrorResponse.model_validate(problem.body())


async def _within_limits(work: Coroutine[Any, Any, T], request: Request) -> T:
    """Do the work unless the deadline passes or the client goes; either cancels it, without waiting for its end."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    seconds = request.app.state.settings.deadline_seconds
    try:
        await asyncio.wait({task, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ApiError(499, "client_closed_request", "the client went away")
        raise ApiError(503, "deadline_exceeded", f"not done within {seconds:g} seconds", retry_after=5)
    finally:
        task.cancel()
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


@router.post("/v1/feedback", status_code=201, tags=["retrain"])
async def feedback(body: FeedbackRequest, request: Request) -> FeedbackResponse:
    """Store a person's labels for a text; the next training run learns from them."""
    request.app.state.labeller.check(body.text)
    labels = request.app.state.host.classifier.artifact.manifest.labels
    wanted = [] if body.labels == [NONE] else body.labels
    if unknown := sorted(set(wanted) - set(labels)):
        raise ApiError(422, "unknown_label", f"unknown label {unknown[0]!r}; there are {', '.join(labels)}")
    if len(set(wanted)) < len(wanted) or not set(body.voice) <= set(wanted):
        raise ApiError(422, "invalid_request", "each label is given once, and voice only for labels that are given")
    example: dict[str, Any] = {"text": body.text, "labels": wanted, "voice": body.voice}
    example |= {name: value for name in ("annotator", "source") if (value := getattr(body, name)) is not None}
    identity = await asyncio.to_thread(request.app.state.feedback.append, example)
    return FeedbackResponse(id=identity, stored=True)


@router.get("/v1/model", tags=["models"])
async def model(request: Request) -> ModelOut:
    """The model that is served: its labels, thresholds, codebook and measured quality, and the limits of this service."""
    settings = request.app.state.settings
    classifier = request.app.state.host.classifier
    artifact = classifier.artifact
    manifest = artifact.manifest
    limits = ("max_body_bytes", "max_text_chars", "max_batch_documents", "max_waiting_tokens", "deadline_seconds")
    return ModelOut(
        name=manifest.name,
        version=manifest.version,
        sha256=artifact.sha256,
        language=manifest.language,
        labels=list(manifest.labels),
        thresholds={label: rule.threshold for label, rule in manifest.decision.labels.items()},
        base_model=manifest.base_model.name,
        precision=classifier.precision,
        metrics=artifact.json(METRICS),
        codebook=artifact.json(CODEBOOK),
        limits={name: getattr(settings, name) for name in limits},
    )


@router.get("/v1/models", tags=["models"])
async def models(request: Request) -> ModelList:
    """The versions that are there, and which one is served."""
    host: ModelHost = request.app.state.host
    current = host.classifier.artifact.version
    versions = await asyncio.to_thread(host.registry.versions)
    return ModelList(models=[ModelListItem(version=version, current=version == current) for version in versions])


@router.post("/v1/models/{version}/activate", tags=["models"])
async def activate(version: str, request: Request) -> ModelList:
    """Serve another version; running requests end on the one that they began with."""
    await asyncio.to_thread(request.app.state.host.activate, version)
    return await models(request)


@router.get("/healthz", tags=["operate"])
async def healthz() -> Health:
    """The process answers."""
    return Health(status="ok")


@router.get("/readyz", tags=["operate"])
async def readyz(request: Request) -> Health:
    """A real inference works, now."""
    state = request.app.state
    if not state.scheduler.healthy:
        raise ApiError(503, "not_ready", "inference does not answer", retry_after=1)
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await state.labeller.probe(state.host.classifier)
    except TimeoutError:
        raise ApiError(503, "not_ready", "inference does not answer", retry_after=1) from None
    return Health(status="ok")


@router.get("/metrics", tags=["operate"], response_class=Response)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(request.app.state.metrics.text(), media_type="text/plain; version=0.0.4")


@router.get("/", include_in_schema=False)
async def home(request: Request) -> HTMLResponse:
    return HTMLResponse(pages.home(request.app.state.host.classifier.artifact))


@router.get("/docs", include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    return HTMLResponse(pages.docs(request.app.openapi()))


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    document: dict[str, Any] = request.app.openapi()
    return document
