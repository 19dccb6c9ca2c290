"""The JSON Schema of records, as it stands in the repository and in every published store."""

from __future__ import annotations

import json
from typing import Any

from lstmbench.records.record import Record

#: An error that is not even finite is written as a word, for JSON has no number for it.
_NUMBER_OR_INFINITE = {"anyOf": [{"type": "number"}, {"const": "Infinity"}]}


def schema_text() -> str:
    """JSON Schema (draft 2020-12) of records in the present schema version."""
    schema: dict[str, Any] = Record.model_json_schema(mode="validation", by_alias=True)
    schema["required"].insert(0, "schema_version")  # of a file; a record gets it when it is made
    parity = schema["$defs"]["Parity"]["properties"]
    parity["worst"] = {"title": "Worst", **_NUMBER_OR_INFINITE}
    for errors in (parity["errors"], schema["$defs"]["AuditPart"]["properties"]["errors"]):
        errors["additionalProperties"] = _NUMBER_OR_INFINITE
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lstmbench record",
        **{key: value for key, value in schema.items() if key not in ("title", "$schema")},
    }
    return json.dumps(schema, indent=1, ensure_ascii=True) + "\n"
