"""The service against its own description: whatever is sent that the schema allows or forbids, no answer is a 5xx."""

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from serving import listening
from tiny import tiny_recognizer

from asr_tutorial.serve.app import create_app
from asr_tutorial.serve.settings import Settings

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 25


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with listening(create_app(Settings(checkpoint=folder, max_wait_ms=0), tiny_recognizer())) as address:
        yield address


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        ("POST", "/transcribe", GenerationMode.POSITIVE),
        ("POST", "/transcribe", GenerationMode.NEGATIVE),
        ("POST", "/explain", GenerationMode.POSITIVE),
        ("POST", "/explain", GenerationMode.NEGATIVE),
        ("GET", "/health", GenerationMode.POSITIVE),
        ("GET", "/metrics", GenerationMode.POSITIVE),
    ],
)
def test_no_answer_is_a_server_error(address, method, path, mode):
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operation = schema[path][method]
    statuses = Counter()

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES if method == "POST" else 2,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def fuzz(case):
        response = case.call_and_validate(checks=CHECKS)
        statuses[response.status_code] += 1

    fuzz()
    if method == "GET":
        assert set(statuses) == {200}
    elif mode is GenerationMode.NEGATIVE:
        assert all(400 <= status < 500 for status in statuses)
    else:
        # How many are accepted depends on what Hypothesis has seen; test_serve.py sends some that are.
        assert all(status == 200 or 400 <= status < 500 for status in statuses)
