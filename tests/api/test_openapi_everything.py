"""`/openapi.json` tells of what is answered, and of nothing that never is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.unit.test_docs import application

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return application().openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_variable_of_a_path_is_a_parameter(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        told = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
        assert told == set(re.findall(r"\{(\w+)\}", name)), name


def test_what_goes_wrong_is_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        answers = operation["responses"]
        assert "HTTPValidationError" not in str(answers), name
        for status, told in answers.items():
            if status >= "400":
                assert list(told["content"]) == [PROBLEM], (name, status)
        if "/health" not in name:
            assert {"400", "503"} <= answers.keys(), name
        assert ("404" in answers) or "{" not in name, name
