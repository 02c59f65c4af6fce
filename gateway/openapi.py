"""OpenAPI as it is served: Litestar's description, put right where it says less, or something else, than is so.

Litestar writes every union as `oneOf`, exactly one, although its members need not exclude each other: an integer is a
number too, so that a true answer would break the schema. msgspec takes the first member that fits, which is `anyOf`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Operation, RequestBody
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

if TYPE_CHECKING:
    from litestar import Request
    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.openapi.spec import Schema

__all__ = ["ClosedStructs", "OptionalBody", "TrueJson", "corrected"]

_JSON = "application/json"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_NULL = {"type": "null"}


class TrueJson(JsonRenderPlugin):
    """Renders what `corrected` makes of the description."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON."""
        return self.render_json(request, corrected(openapi_schema))


class ClosedStructs(OpenAPISchemaPlugin):
    """Says of a Struct that forbids unknown fields that it does, which Litestar leaves out."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether the field is such a Struct."""
        kind = field_definition.annotation
        struct = isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        return struct and kind.__struct_config__.forbid_unknown_fields

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:
        """The Struct's component, closed."""
        kind = field_definition.annotation
        hints = field_definition.get_type_hints(include_extras=True, resolve_generics=True)
        fields = msgspec.structs.fields(kind)
        made = schema_creator.create_component_schema(
            field_definition,
            required=sorted(field.encode_name for field in fields if field.required),
            property_fields={
                field.encode_name: FieldDefinition.from_annotation(hints[field.name], name=field.encode_name)
                for field in fields
            },
        )
        made.additional_properties = False
        return made


@dataclasses.dataclass
class OptionalBody(Operation):
    """An operation that does without a body, which Litestar always calls required."""

    def __post_init__(self) -> None:
        """Say so."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.required = False


def corrected(schema: Any, *, inside: str = "") -> Any:
    """A description in which unions are `anyOf`, problems have their media type, and headers are texts.

    Args:
        schema: a description of OpenAPI 3.1 as Litestar makes it, or a part of one; it is not changed.
        inside: the key under which the part stands.
    """
    if isinstance(schema, list):
        return [corrected(part, inside=inside) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if inside == "properties":  # its keys are names, not keywords
        return {name: corrected(part) for name, part in schema.items()}
    found = {key: corrected(part, inside=key) for key, part in schema.items()}
    if "oneOf" in found:
        found = _any_of(found)
    if inside == "parameters" and found.get("in") == "header":
        found["schema"] = _without_null(found["schema"])
    if inside == "headers":
        found = {name: {"schema": {"type": "string"}, **header} for name, header in found.items()}
    if inside == "content" and found.get(_JSON, {}).get("schema") == _PROBLEM:
        found = {"application/problem+json": found[_JSON]}
    return found


def _any_of(schema: dict[str, Any]) -> dict[str, Any]:
    """One member is no union; what else is said of it stays."""
    members = schema.pop("oneOf")
    if len(members) == 1 and not members[0].keys() & schema.keys():
        return {**members[0], **schema}
    return {"anyOf": members, **schema}


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A header that is left out is absent; there is no null, which in a query Litestar reads as nothing."""
    members = [member for member in schema.get("anyOf", ()) if member != _NULL]
    if len(members) == len(schema.get("anyOf", ())):
        return schema
    rest = {key: part for key, part in schema.items() if key != "anyOf"}
    return {**members[0], **rest} if len(members) == 1 else {"anyOf": members, **rest}
