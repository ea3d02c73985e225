"""Around every request, in pure ASGI so that a client's disconnect stays visible: limits on the body, headers, metrics."""

import asyncio
import ipaddress
import logging
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import ApiError
from .metrics import Metrics

_logger = logging.getLogger("paraframe.requests")

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
    """Refuses a body that is too long, before it is read where its length is declared, or that comes too slowly."""

    def __init__(self, app: ASGIApp, *, max_bytes: int, seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
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


class KnownHosts:
    """Refuses what a page of another site makes somebody's browser send: for a service without keys.

    Such a request names that site in `Origin`, or in `Host` where the site's name was made to point here. Addresses and
    names without a dot are not to be had for that; `hosts` are the other names that this service has, or `*`.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self._hosts:
            headers = dict(scope["headers"])
            host = _name(b"//" + headers.get(b"host", b"localhost"))
            origin = _name(headers[b"origin"]) if b"origin" in headers else host
            if not self._is_own(host) or not (origin == host or (_is_loopback(origin) and _is_loopback(host))):
                message = "without keys pages of other sites are refused; ALLOWED_HOSTS names the names of this service"
                await ApiError(403, "foreign_origin", message).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_own(self, name: str) -> bool:
        return name in self._hosts or "." not in name.removesuffix(".localhost") or _address(name) is not None


def _name(address: bytes) -> str:
    try:
        return urlsplit(address.decode("latin-1")).hostname or "."
    except ValueError:
        return "."


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address.is_loopback if address else name.rsplit(".", maxsplit=1)[-1] == "localhost"


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
            route: Any = scope.get("route")
            path = route.path if route is not None else "unknown"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.seconds.labels(path).observe(time.monotonic() - started)
