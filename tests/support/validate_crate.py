"""roc-validator on a crate, without a network: the one page that it would fetch, the context of RO-Crate 1.1, is
rocrate's own copy. Runs in an environment of its own (requirements-crate.txt), and prints a line for each issue."""

from __future__ import annotations

import json
import sys
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from rdflib.plugins.shared.jsonld import context
from requests import Response
from rocrate_validator import models, services
from rocrate_validator.utils.http import HttpRequester

URL = "https://w3id.org/ro/crate/1.1/context"
TEXT = Path(str(distribution("rocrate").locate_file("rocrate/data/ro-crate.jsonld"))).read_text(encoding="utf-8")


def get(_: HttpRequester, address: str, **__: Any) -> Response:
    """In place of the validator's own requests."""
    assert address == URL, f"{address}: not here"
    answer = Response()
    answer.status_code, answer._content = 200, TEXT.encode()
    answer.headers["Content-Type"] = "application/ld+json"
    return answer


def source_to_json(source: Any, *more: Any, **options: Any) -> Any:
    """In place of rdflib's own."""
    return (json.loads(TEXT), None) if source == URL else fetched(source, *more, **options)


fetched = context.source_to_json
context.source_to_json = source_to_json
HttpRequester.get = get
result = services.validate(
    services.ValidationSettings(
        rocrate_uri=sys.argv[1],
        profile_identifier="workflow-run-crate",
        requirement_severity=models.Severity.REQUIRED,
        abort_on_first=False,
    )
)
for issue in result.get_issues():
    print(issue.check.identifier, issue.message, issue.violatingEntity)
print("passed" if result.passed() else "failed")
