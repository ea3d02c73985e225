"""Who is let in: with keys, whoever has the scope that a route needs; without, whoever is no page of another site.

A route that is not in the table of scopes does not start.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from starlette.datastructures import Headers
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from .errors import ApiError
from .keys import Key, KeyFile, KeyFileError, Scope

# None: open to everybody, since it tells nothing of the users' texts.
REQUIRED: dict[tuple[str, str], Scope | None] = {
    ("GET", "/"): None,
    ("GET", "/docs"): None,
    ("GET", "/openapi.json"): None,
    ("GET", "/healthz"): None,
    ("GET", "/readyz"): None,
    ("GET", "/metrics"): "read",
    ("GET", "/v1/model"): "read",
    ("GET", "/v1/models"): "read",
    ("POST", "/v1/classify"): "read",
    ("POST", "/v1/classify/batch"): "read",
    ("POST", "/v1/feedback"): "label",
    ("POST", "/v1/models/{version}/activate"): "admin",
}
_NOBODY = "."  # no host has this name


def check_routes(app: FastAPI) -> None:
    """Raises LookupError for a route without a rule, and for anything mounted that no rule can speak of."""
    for route in _flat(app.routes):
        if not isinstance(route, Route):
            raise LookupError(f"{route!r} is no plain route, so no rule in service.access.REQUIRED covers it")
        for method in route.methods or ():
            if (method, route.path) not in REQUIRED:
                raise LookupError(f"{method} {route.path} has no rule in service.access.REQUIRED")


def _flat(routes: Iterable[BaseRoute]) -> Iterator[BaseRoute]:
    """FastAPI keeps an included router as one route of its own kind."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is None:
            yield route
        else:
            yield from _flat(included.routes)


async def authorize(request: Request) -> None:
    """A dependency of every route. Raises ApiError 401 without a known key, 403 if it lacks the scope."""
    keys: KeyFile | None = request.app.state.keys
    scope = REQUIRED[request.method, request.scope["route"].path]
    if keys is not None and scope is not None and scope not in _known(keys, request.headers).scopes:
        raise ApiError(403, "forbidden", f"this key lacks the scope `{scope}`")


class KeyBeforeBody:
    """Refuses a request with a body whose key is unknown before any of the body is read.

    What the key may do is for `authorize`; nothing that is open to everybody takes a body.
    """

    def __init__(self, app: ASGIApp, *, keys: KeyFile) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            try:
                _known(self._keys, Headers(scope=scope))
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _known(keys: KeyFile, headers: Headers) -> Key:
    try:
        key = keys.find(_secret(headers))
    except KeyFileError as error:
        raise ApiError(503, "keys_unavailable", "the service cannot read its keys; its log says why", retry_after=5) from error
    if key is None:
        raise ApiError(401, "unauthorized", "a valid key is needed: `Authorization: Bearer KEY`, or `X-API-Key`")
    return key


def _secret(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")


class KnownHosts:
    """Refuses what a page of another site makes somebody's browser send: for a service without keys.

    Such a request names that site in `Origin`, or in `Host` where the site's name was made to point here. Addresses and
    names without a dot are not to be had for that; `hosts` are the other names that this service has, or `*`. Where a page
    merely embeds what it asks for, as an image, only `Sec-Fetch-Site` tells; following a link is no harm.
    """

    def __init__(self, app: ASGIApp, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "*" not in self._hosts:
            headers = dict(scope["headers"])
            host = _name(b"//" + headers.get(b"host", b"localhost"))
            origin = _origin(headers, host)
            if not self._is_own(host) or not (origin == host or (_is_loopback(origin) and _is_loopback(host))):
                message = "without keys pages of other sites are refused; ALLOWED_HOSTS names the names of this service"
                await ApiError(403, "foreign_origin", message).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _is_own(self, name: str) -> bool:
        return name in self._hosts or "." not in name.removesuffix(".localhost") or _address(name) is not None


def _origin(headers: dict[bytes, bytes], host: str) -> str:
    """The name of the site whose page made the browser send this: the service's own, unless the request says otherwise."""
    if b"origin" in headers:
        return _name(headers[b"origin"])
    cross_site = headers.get(b"sec-fetch-site") == b"cross-site" and headers.get(b"sec-fetch-mode") != b"navigate"
    return _NOBODY if cross_site else host


def _name(address: bytes) -> str:
    try:
        return urlsplit(address.decode("latin-1")).hostname or _NOBODY
    except ValueError:
        return _NOBODY


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    return address.is_loopback if address else name.rsplit(".", maxsplit=1)[-1] == "localhost"
