"""The API against its own OpenAPI document, by requests that schemathesis makes up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from servers import Server

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.schemas import BaseSchema  # noqa: E402

FITS, BREAKS = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
READ = [("GET", "/v1/models"), ("GET", "/v1/models/{name}"), ("GET", "/health")]
ASK = [("POST", "/v1/chat/completions"), ("POST", "/v1/completions")]
CASES = [(*one, FITS) for one in READ + ASK] + [(*one, BREAKS) for one in ASK]
CHECKS = [
    schemathesis.checks.not_a_server_error,
    schemathesis.checks.status_code_conformance,
    schemathesis.checks.content_type_conformance,
    schemathesis.checks.response_schema_conformance,
    schemathesis.checks.response_headers_conformance,
]
"""Not that all that fits is accepted: a prompt can be longer than the context."""


@pytest.fixture(scope="module")
def schema(real_server: Server) -> BaseSchema:
    return schemathesis.openapi.from_url(f"{real_server.url}/openapi.json")


def test_every_operation_is_tried(schema: BaseSchema) -> None:
    found = [one.ok() for one in schema.get_all_operations()]
    assert {(one.method.upper(), one.path) for one in found} == set(READ + ASK)


@pytest.mark.parametrize(("method", "path", "mode"), CASES)
def test_nothing_that_is_made_up_breaks_it(
    method: str, path: str, mode: GenerationMode, schema: BaseSchema, real_server: Server
) -> None:
    key = real_server.add_user(f"{method}-{mode.value}-{abs(hash(path))}".lower())

    @settings(
        max_examples=30, derandomize=True, deadline=None, database=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=schema[path][method].as_strategy(generation_mode=mode))
    def attempt(case: schemathesis.Case) -> None:
        response = case.call(
            base_url=real_server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60
        )
        case.validate_response(response, checks=CHECKS)
        assert response.status_code in (200, 400, 401, 404, 413)
        if response.status_code >= 400:
            assert response.json()["error"]["message"]

    attempt()


@pytest.mark.parametrize(("method", "path"), READ[:2] + ASK)
def test_without_a_key_nothing_is_said(
    method: str, path: str, schema: BaseSchema, real_server: Server
) -> None:
    @settings(max_examples=5, derandomize=True, deadline=None, database=None)
    @given(case=schema[path][method].as_strategy(generation_mode=FITS))
    def attempt(case: schemathesis.Case) -> None:
        response = case.call(base_url=real_server.url, timeout=60)
        assert response.status_code in (400, 401)
        assert "data" not in response.json()

    attempt()
