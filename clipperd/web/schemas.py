"""Makes the schemas and examples of the OpenAPI document; ``web/openapi.py`` puts them together.

msgspec makes the schemas of the structs that the handlers use. Those of targets, positions and
settings are derived here: their handlers check more than a struct can say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from clipperd.model import POSITIONS
from clipperd.settings import config, stored
from clipperd.web.middleware.problems import MEDIA_TYPE, NOTION_CODES, Problem
from clipperd.web.routes import NOTION_ID
from clipperd.web.vocabulary import PARAMETERS, PROPERTIES

Schema = dict[str, Any]

_REF = "#/components/schemas/{name}"

_FORMATS = {
    "date-time": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
    "uuid": re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
    "uri": re.compile(r"https?://\S+"),
}
"""A property has the format of its example."""


def parameter(place: str, name: str, schema: Mapping[str, Any], *, required: bool) -> Schema:
    """Return a parameter with its sentence."""
    text, example = PARAMETERS.get(name) or PROPERTIES.get(name) or ("", None)
    return {
        "name": name,
        "in": place,
        "required": required,
        "description": text,
        "schema": dict(schema),
        **({} if example is None else {"example": example}),
    }


def header(text: str, schema: Schema) -> Schema:
    """Return a header of an answer."""
    return {"description": text, "schema": schema}


class Schemas:
    """The components of the document, and the examples made of them."""

    def __init__(self, codes: Mapping[str, Any]) -> None:
        """``codes``: the codes of errors."""
        self.components: dict[str, Schema] = {
            "ErrorCode": {
                "type": "string",
                "description": "The code of an error; new ones may be added.",
                "enum": list(codes),
            },
        }
        self.responses: dict[str, Schema] = {}
        self.of(Problem)
        self.components["Problem"]["examples"] = [self.example(self.of(Problem))]

    def of(self, shape: Any, *, is_request: bool = False) -> Schema:
        """Return the schema of ``shape``; add the components that it refers to."""
        (schema,), found = msgspec.json.schema_components([shape], ref_template=_REF)
        for name, component in found.items():
            if name not in self.components:
                self.components[name] = component
                omits = getattr(_named(shape, name), "__struct_config__", None)
                self._finish(name, component, is_request, bool(omits and omits.omit_defaults))
                if derive := _DERIVED.get(name):
                    derive(self.components)
        cleaned: Schema = self._clean(schema, is_request)
        return cleaned

    def parameters(self, query: type[msgspec.Struct] | None) -> list[Schema]:
        """Return one parameter per field of ``query``."""
        if query is None:
            return []
        _, found = msgspec.json.schema_components([query], ref_template=_REF)
        shape = found.pop(query.__name__)
        assert not found, "a query holds no structs"
        required = shape.get("required", [])
        return [
            parameter("query", name, schema, required=name in required)
            for name, schema in shape["properties"].items()
        ]

    def refusal(self, codes: list[str]) -> Schema:
        """Return the content of an error answer."""
        narrowed = {"type": "object", "properties": {"code": {"enum": codes}}}
        return {MEDIA_TYPE: {"schema": {"allOf": [self.of(Problem), narrowed]}}}

    def refusal_response(self, status: int, codes: list[str]) -> Schema:
        """Return a reference to the error answer with these codes."""
        response = self.responses.setdefault(
            ".".join(codes), {"description": ", ".join(codes), "content": self.refusal(codes)}
        )
        if status in (429, 503):
            response["headers"] = {"Retry-After": header("Seconds to wait", {"type": "integer"})}
        return {"$ref": "#/components/responses/" + ".".join(codes)}

    def resolved(self, schema: Schema) -> Schema:
        """Follow a reference."""
        while "$ref" in schema:
            schema = self.components[schema["$ref"].rpartition("/")[2]]
        return schema

    def example(self, schema: Schema) -> Any:
        """Compose an example from those of the properties."""
        owner = schema.get("$ref", "").rpartition("/")[2]
        schema = self.resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if "properties" not in schema and (choices := schema.get("oneOf") or schema.get("anyOf")):
            return self.example(next(each for each in choices if each.get("type") != "null"))
        kind = schema.get("type", "object")
        if kind == "array":
            return [self.example(schema["items"])]
        if kind != "object":
            first = kind if isinstance(kind, str) else kind[0]
            return {"string": "text", "integer": 1, "number": 1.5, "boolean": True}[first]
        return {
            name: self._example_of(owner, name, each)
            for name, each in schema.get("properties", {}).items()
            if each.get("type") != "null"
        }

    def _example_of(self, owner: str, name: str, schema: Schema) -> Any:
        _, example = _property(owner, name)
        return self.example(schema) if example is None else example

    def _finish(self, name: str, component: Schema, is_request: bool, omits: bool) -> None:
        """Clean a component; describe its properties; answers hold every member that has one."""
        component.pop("title", None)
        required = component.get("required", [])
        if not is_request and not omits:
            required += [
                member
                for member, each in component.get("properties", {}).items()
                if "default" in each and member not in required
            ]
        if not required:
            component.pop("required", None)
        self._clean(component, is_request)
        for member, each in component.get("properties", {}).items():
            text, example = _property(name, member)
            each["description"] = text
            for format_, pattern in _FORMATS.items():
                if isinstance(example, str) and pattern.fullmatch(example):
                    _set_format(each, format_, is_request)

    def _clean(self, schema: Any, is_request: bool) -> Any:
        """Make named enums components, and say what an object holds."""
        if isinstance(schema, list):
            for number, each in enumerate(schema):
                schema[number] = self._clean(each, is_request)
        if not isinstance(schema, dict):
            return schema
        if "discriminator" in schema and "anyOf" in schema:
            schema["oneOf"] = schema.pop("anyOf")
        if "oneOf" in schema:
            for key in ("type", "additionalProperties"):
                schema.pop(key, None)
        if "description" in schema:
            schema["description"] = " ".join(schema["description"].replace("``", "`").split())
        if schema.get("type") == "object" and not schema.keys() & {
            "properties",
            "additionalProperties",
        }:
            schema["additionalProperties"] = True
        if isinstance(schema.get("default"), (str, int, float, list, dict, type(None))):
            schema.pop("default", None)  # types made of the document would require the member
        if "enum" in schema and all(isinstance(each, str) for each in schema["enum"]):
            schema["type"] = "string"
        for key, each in schema.items():
            if key not in ("enum", "required", "examples"):
                schema[key] = (
                    self._clean_members(each, is_request)
                    if key == "properties"
                    else (self._clean(each, is_request))
                )
        if "oneOf" in schema:
            self._discriminate(schema)
        title = schema.get("title")
        if title is None:
            return schema
        del schema["title"]
        for member, each in schema.get("properties", {}).items():
            each.setdefault("description", _property(title, member)[0])
        self.components.setdefault(title, schema)
        return {"$ref": _REF.format(name=title)}

    def _discriminate(self, schema: Schema) -> None:
        """Name the member by whose constant the alternatives differ, if there is one."""
        choices = [self.resolved(each).get("properties", {}) for each in schema["oneOf"]]
        for name in choices[0]:
            if all("const" in each.get(name, {}) for each in choices):
                values = [each[name]["const"] for each in choices]
                refs = [each["$ref"] for each in schema["oneOf"]]
                mapping = dict(zip(values, refs, strict=True))
                schema["discriminator"] = {"propertyName": name, "mapping": mapping}

    def _clean_members(self, members: dict[str, Any], is_request: bool) -> dict[str, Any]:
        return {name: self._clean(each, is_request) for name, each in members.items()}


def _property(owner: str, name: str) -> tuple[str, Any]:
    return PROPERTIES.get(f"{owner}.{name}") or PROPERTIES.get(name) or ("", None)


def _named(shape: Any, name: str) -> Any:
    """Return the type called ``name`` among ``shape`` and its bases."""
    return next((each for each in getattr(shape, "__mro__", ()) if each.__name__ == name), None)


def _set_format(schema: Schema, format_: str, is_request: bool) -> None:
    if format_ == "uuid" and is_request:
        extra = {"pattern": NOTION_ID["pattern"]}  # a request may leave out the dashes
    else:
        extra = {"format": format_}
    for each in (schema, *schema.get("anyOf", ()), schema.get("items", {})):
        if each.get("type") == "string":
            each.update(extra)


def _derive_targets(components: dict[str, Schema]) -> None:
    """Split the one struct of targets into one schema for each way to name the page."""
    flat = components["TargetBody"]
    members = flat["properties"]
    names = [name for name in members if name not in ("position", "headings")]
    shared = {name: each for name, each in members.items() if name not in names}
    for name in names:
        title = "".join(word.title() for word in name.removesuffix("_id").split("_")) + "Target"
        (schema,) = [each for each in members[name]["anyOf"] if each.get("type") != "null"]
        described = {**schema, "description": members[name]["description"]}
        components[title] = _closed({name: described, **shared}, [name])
    components["TargetBody"] = {
        "description": flat["description"],
        "oneOf": [_ref(each) for each in components if each.endswith("Target")],
    }


def _derive_positions(components: dict[str, Schema]) -> None:
    """Split the one struct of positions by type, as POSITIONS and the handler do."""
    flat = components["PositionBody"]
    members = flat["properties"]
    rest = {name: members[name] for name in ("if_gone", "headings")}
    block_id = next(each for each in members["block_id"]["anyOf"] if each["type"] == "string")
    heading_id = next(each for each in members["heading_id"]["anyOf"] if each["type"] == "string")
    names = {}
    for type_, rule in POSITIONS.items():
        names[type_] = "".join(word.title() for word in type_.split("_")) + "Position"
        own: dict[str, Schema] = {}
        more: Schema = {}
        required = ["type"]
        if rule.names == "block":
            own = {"block_id": {**block_id, "description": members["block_id"]["description"]}}
            required.append("block_id")
        elif rule.names == "heading":
            own = {
                "heading_id": {
                    **heading_id,
                    "description": members["heading_id"]["description"],
                },
                "heading": _ref("HeadingName") | {"description": members["heading"]["description"]},
            }
            more = {"oneOf": [{"required": ["heading_id"]}, {"required": ["heading"]}]}
        type_schema = {"const": type_, "description": members["type"]["description"]}
        components[names[type_]] = _closed({"type": type_schema, **own, **rest}, required) | more
    components["Position"] = {
        "description": PROPERTIES["Position"][0],
        "oneOf": [_ref(name) for name in names.values()],
        "discriminator": {
            "propertyName": "type",
            "mapping": {type_: _REF.format(name=name) for type_, name in names.items()},
        },
    }
    components["PositionBody"] = {
        "description": flat["description"],
        "anyOf": [_ref("Position"), _closed(rest, [])],
    }


def _derive_settings(components: dict[str, Schema]) -> None:
    hints = get_type_hints(config.Settings)
    shown = [name for name in config.names() if stored.is_open(name)]
    properties = {}
    for name in shown:
        hint = str | None if hints[name] == Path | None else hints[name]
        properties[name] = msgspec.json.schema(hint) | {"description": config.describe(name).doc}
        properties[name].pop("$ref", None)
    components["Settings"] = {"type": "object", "properties": properties, "required": shown}
    components["SettingsView"]["properties"]["settings"] = _ref("Settings") | {
        "description": PROPERTIES["settings"][0]
    }


def _derive_settings_patch(components: dict[str, Schema]) -> None:
    components["SettingsPatch"] = _closed(
        {
            name: _ref("SettingValue") | {"description": config.describe(name).doc}
            for name in config.names()
            if stored.is_open(name)
        },
        [],
    )
    components["SettingValue"] = {
        "description": "A new value, as text too; null restores the default.",
        "type": ["string", "number", "array", "null"],
        "items": {"type": ["string", "number"]},
    }


def _derive_code(name: str) -> Callable[[dict[str, Schema]], None]:
    def derive(components: dict[str, Schema]) -> None:
        components[name]["properties"]["code"] |= _ref("ErrorCode")
        components[name]["properties"]["code"].pop("type")

    return derive


def _derive_notion_code(components: dict[str, Schema]) -> None:
    codes = sorted({*NOTION_CODES.values(), "service_unavailable"})
    components["NotionProblem"]["properties"]["code"]["enum"] = codes


_DERIVED: Mapping[str, Callable[[dict[str, Schema]], None]] = {
    "NotionProblem": _derive_notion_code,
    "OutlineError": _derive_code("OutlineError"),
    "PositionBody": _derive_positions,
    "Problem": _derive_code("Problem"),
    "SettingsPatch": _derive_settings_patch,
    "SettingsView": _derive_settings,
    "TargetBody": _derive_targets,
}


def _ref(name: str) -> Schema:
    return {"$ref": _REF.format(name=name)}


def _closed(properties: dict[str, Schema], required: list[str]) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})
