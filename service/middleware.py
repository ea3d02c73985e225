"""Around every request, in pure ASGI so that a client's disconnect stays visible: limits on the body, headers, metrics."""

import asyncio
import logging
import time
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .access import REQUIRED
from .errors import ApiError
from .metrics import Metrics

_logger = logging.getLogger("paraframe.requests")

_PATHS = {path for _, path in REQUIRED}

_SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
    # Pages here are plain HTML with a style of their own: no script runs, nothing is loaded, nothing is framed.
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    ),
)


class BodyLimits:
    """Refuses a body that is too long, before it is read where its length is declared, or that comes too slowly.

    No route reads the body of a GET or HEAD, so here that is not read either.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        if body is None:
            return  # the client is gone
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise ApiError(415, "unsupported_encoding", "bodies are taken as they are, without a content encoding")
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise self._too_long()
        try:
            async with asyncio.timeout(self._seconds):
                return await self._collect(receive)
        except TimeoutError:
            raise ApiError(408, "body_timeout", f"the body did not arrive within {self._seconds:g} seconds") from None

    async def _collect(self, receive: Receive) -> bytes | None:
        chunks: list[bytes] = []
        length = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            chunk: bytes = message.get("body", b"")
            length += len(chunk)
            if length > self._max_bytes:
                raise self._too_long()
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)

    def _too_long(self) -> ApiError:
        return ApiError(413, "body_too_large", f"the body is longer than {self._max_bytes} bytes")


class Observed:
    """Security headers on every answer, one in the usual shape where the application fails; counts and times by route."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        status = 0

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *_SECURITY_HEADERS]
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        except Exception:
            if status:  # half an answer is out: the server ends the connection, and logs why
                raise
            _logger.exception("a request failed in an unforeseen way")
            unforeseen = ApiError(500, "internal_error", "the service failed in a way that nobody foresaw; it is in its log")
            await unforeseen.response()(scope, receive, observed_send)
        finally:
            path = _route(scope)
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)


def _route(scope: Scope) -> str:
    """The path of the route, also where a request was refused before it had one; never what a client made up."""
    route: Any = scope.get("route")
    if route is not None:
        return str(route.path)
    return scope["path"] if scope["path"] in _PATHS else "unknown"
