"""One shape for every error, and the one table from what went wrong to its status."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from .inference.errors import ArtifactError, EncoderError, InputError, ParaframeError, UnknownVersionError

_logger = logging.getLogger("paraframe.errors")


class ApiError(HTTPException):
    """An answer other than success. An HTTPException, so that the framework lets it through wherever it is raised."""

    def __init__(
        self, status: int, code: str, message: str, *, details: list[dict[str, Any]] | None = None, retry_after: int = 0
    ) -> None:
        super().__init__(status, message, {"Retry-After": str(retry_after)} if retry_after else None)
        self.code = code
        self.details = details or []

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.detail, "details": self.details}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body(), self.status_code, self.headers)


# What the core refuses: status and code. The most special class decides.
_REFUSALS: dict[type[ParaframeError], tuple[int, str]] = {
    InputError: (422, "unprocessable_text"),
    UnknownVersionError: (404, "unknown_version"),
    ArtifactError: (409, "artifact_refused"),
    EncoderError: (503, "inference_failed"),
    ParaframeError: (503, "unavailable"),
}
_MOST_DETAILS = 20
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def from_refusal(error: ParaframeError) -> ApiError:
    """A refusal of the core as an answer. Its own text is for the person, but a failure of the service is for its log."""
    status, code = next(_REFUSALS[kind] for kind in type(error).__mro__ if kind in _REFUSALS)
    if status < 500:
        return ApiError(status, code, str(error))
    _logger.error("%s: %s", code, error, exc_info=error.__cause__)
    return ApiError(status, code, "the service cannot do this now; its log says why", retry_after=1)


def from_validation(error: RequestValidationError | ValidationError, message: str) -> ApiError:
    """What is wrong with each field; of very many, the first."""
    details = [
        {"field": ".".join(str(part) for part in e["loc"] if part != "body"), "message": e["msg"]}
        for e in error.errors()[:_MOST_DETAILS]
    ]
    return ApiError(422, "invalid_request", message, details=details)


def add_handlers(app: FastAPI) -> None:
    """Every error leaves in the one shape, those of the framework too."""

    @app.exception_handler(ApiError)
    async def _api(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(ParaframeError)
    async def _refusal(_: Request, error: ParaframeError) -> JSONResponse:
        return from_refusal(error).response()

    @app.exception_handler(RequestValidationError)
    async def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        return from_validation(error, "the request does not have the shape that it should").response()

    @app.exception_handler(HTTPException)
    async def _http(_: Request, error: HTTPException) -> JSONResponse:
        code = _HTTP_CODES.get(error.status_code, "request_failed")
        answer = ApiError(error.status_code, code, str(error.detail)).response()
        answer.headers.update(error.headers or {})
        return answer
