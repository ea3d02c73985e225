"""Which scope each route needs, and whether a request has it. A route that is not in the table does not start."""

from collections.abc import Iterable, Iterator

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


def check_routes(app: FastAPI) -> None:
    """Raises LookupError for a route without a rule, and for anything mounted that no rule can speak of."""
    for route in _flat(app.routes):
        if not isinstance(route, Route):
            raise LookupError(f"{route!r} is no plain route, so no rule in service.access.REQUIRED covers it")
        for method in (route.methods or set()) - {"HEAD"}:
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
    scope = REQUIRED[request.method.replace("HEAD", "GET"), request.scope["route"].path]
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
        raise ApiError(503, "keys_unavailable", "the service cannot read its keys") from error
    if key is None:
        raise ApiError(401, "unauthorized", "a valid key is needed: `Authorization: Bearer KEY`, or `X-API-Key`")
    return key


def _secret(headers: Headers) -> str:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
