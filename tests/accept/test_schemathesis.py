"""schemathesis asks what both OpenAPI documents tell may be asked, and much that may not.

No answer is an error of ours, and each is one that the document tells of: its status, its media
type, its schema.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.accept.house import Table
from tests.accept.tools import alone, client_python, fetch

pytestmark = pytest.mark.db

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "unsupported_method",
)  # fmt: skip
ENDLESS = "^/changes$"  # a stream that lasts as long as its client stays
SEED = "20261127"
PATIENCE_S = 570
# What there is, and what there is not: without these nearly every address would be a 404.
KNOWN = {
    "collection_id": ["trees", "districts", "hotline_calls", "nothing"],
    "layers": ["trees", "districts,parks", "nothing"],
    "layer_id": ["trees", "nothing"],
    "style_id": ["city", "trees", "nothing"],
    "tile_matrix_set": ["WebMercatorQuad", "nothing"],
    "fid": ["1", "2", "x"],
    "z": ["12", "13", "x"],
    "matrix": ["12", "13"],
}


def with_known_values(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the values that variables of its paths have here."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for each in operation.get("parameters", ()):
                if each.get("in") == "path" and each["name"] in KNOWN:
                    each["schema"] = {"type": "string", "enum": KNOWN[each["name"]]}
    return document


@pytest.mark.parametrize(("name", "examples"), [("api", 3), ("openapi.json", 30)])
def test_every_answer_is_one_that_the_document_tells_of(
    sample_city: str, clients: Table, tmp_path: Path, name: str, examples: int
) -> None:
    document = tmp_path / "document.json"
    document.write_text(json.dumps(with_known_values(fetch(f"{sample_city}/{name}"))))
    ended = subprocess.run(
        [
            client_python().with_name("schemathesis"), "run", document, "--url", sample_city,
            "--phases", "examples,coverage,fuzzing", "--max-examples", str(examples),
            "--workers", "1", "--checks", ",".join(CHECKS), "--exclude-path-regex", ENDLESS,
            "--suppress-health-check", "all", "--seed", SEED, "--no-color",
        ],
        env=alone(), cwd=tmp_path, text=True, capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-6000:]
    cases = re.search(r"([\d,]+) generated, ([\d,]+) passed", ended.stdout)
    tested = re.search(r"Tested: (\d+)", ended.stdout)
    assert cases is not None
    assert tested is not None
    assert cases[1] == cases[2]
    clients.add("schemathesis", f"/{name}: operations", int(tested[1]), cases[1])
