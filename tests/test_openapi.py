"""The service against its own OpenAPI document: requests made from it, and answers held against it."""

from pathlib import Path

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def test_answers_are_as_documented(tiny_models: Path, tmp_path: Path) -> None:
    app = create_app(Settings(models_dir=tiny_models, labels_dir=tmp_path, threads=1))
    asked = set()
    with TestClient(app) as client:
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        for operation in (result.ok() for result in schema.get_all_operations()):
            if operation.path.endswith("/activate"):  # would swap the model under the other requests
                continue

            @settings(max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def check(case: schemathesis.Case) -> None:
                case.call_and_validate(session=client, checks=CHECKS)

            check()
            asked.add(operation.path)
    assert {"/v1/classify", "/v1/classify/batch", "/v1/feedback", "/v1/model"} <= asked
