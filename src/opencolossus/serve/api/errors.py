"""Errors as OpenAI's clients expect them: one sentence, a type, a status."""

from __future__ import annotations

import logging
import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from opencolossus.serve.accounts.database import is_outage
from opencolossus.serve.accounts.quotas import QuotaExceededError
from opencolossus.serve.answers import EngineDownError
from opencolossus.serve.api import rates
from opencolossus.serve.api.misfits import describe
from opencolossus.serve.fair import QueueFullError
from opencolossus.specs.errors import UserError

LOG = logging.getLogger("colossus.serve")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}


NOT_OFFERED = {
    "/v1/embeddings": "a model trained to continue text has none that mean anything",
    "/v1/responses": "use /v1/chat/completions, and send the conversation with each request",
    "/v1/": "there are /v1/models, /v1/chat/completions and /v1/completions",
}
"""What OpenAI's API has and this one has not."""


class ApiError(Exception):
    """An answer other than success."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        """The JSON that says so."""
        return {
            "error": {
                "message": self.message,
                "type": TYPES.get(self.status, "server_error"),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The answer that says so."""
        headers = dict(self.headers)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return JSONResponse(self.body(), self.status, headers)


def translate(error: Exception) -> ApiError:
    """What a client is told of an exception."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QuotaExceededError):
        return ApiError(
            429, str(error), code="rate_limit_exceeded", retry_after=error.retry_after,
            headers=rates.headers(error.allowances),
        )  # fmt: skip
    if isinstance(error, QueueFullError):
        return ApiError(429, str(error), code="server_busy", retry_after=5)
    if isinstance(error, EngineDownError):
        return ApiError(503, str(error), code="engine_unavailable", retry_after=3)
    if isinstance(error, UserError):
        return ApiError(400, str(error))
    if isinstance(error, SQLAlchemyError) and is_outage(error):
        LOG.error("the database cannot be used: %s", str(error).splitlines()[0])
        message = "the server's database cannot be used right now; try again later"
        return ApiError(503, message, code="database_unavailable", retry_after=5)
    LOG.exception("unexpected error", exc_info=error)
    return ApiError(500, "the server made a mistake; it has been logged")


def _http(request: Request, error: HTTPException) -> ApiError:
    if error.status_code == 400 and "parsing the body" in str(error.detail):
        return ApiError(400, "the body is not valid JSON in UTF-8")
    if error.status_code == 404:
        path = request.url.path
        reason = next((why for start, why in NOT_OFFERED.items() if path.startswith(start)), None)
        message = f"{path[:100]} is not offered: {reason}" if reason else "there is nothing here"
        return ApiError(404, message, code="unknown_url")
    if error.status_code == 405:
        offered = (error.headers or {}).get("Allow", "another method")
        return ApiError(405, f"{request.method} is not offered here; use {offered}")
    return ApiError(error.status_code, str(error.detail))


def install(app: FastAPI) -> None:
    """Make every error of the app one of ours."""

    async def known(_request: Request, error: Exception) -> JSONResponse:
        return translate(error).response()

    async def validation(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # registered for it alone
        message, param, code = describe(error.errors())
        return ApiError(400, message, param=param, code=code).response()

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # registered for it alone
        response = _http(request, error).response()
        response.headers.update(error.headers or {})
        return response

    for kind in (
        ApiError,
        QuotaExceededError,
        QueueFullError,
        EngineDownError,
        UserError,
        SQLAlchemyError,
    ):
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, known)
