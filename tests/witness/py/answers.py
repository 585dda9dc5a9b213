"""Judges answers by an OpenAPI document, both from stdin: {"document", "answers": [{"what", "schema",
"body"}]}. Prints what is wrong, a text each: what a schema refuses, and members that it does not name."""

import json
import sys

from jsonschema import Draft202012Validator

asked = json.load(sys.stdin)
components = asked["document"]["components"]


def parts(schema):
    """The schema and all that it is put together of, with references followed."""
    while "$ref" in schema:
        schema = components["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    yield schema
    for word in ("allOf", "oneOf", "anyOf"):
        for part in schema.get(word, []):
            yield from parts(part)


def unnamed(schemas, value, place):
    """Members of the value that none of the schemas names."""
    everything = [part for schema in schemas for part in parts(schema)]
    if isinstance(value, dict):
        if not any("properties" in part or "additionalProperties" in part for part in everything):
            yield f"{place}: nothing says what is in it"
        for name, member in value.items():
            known = [part["properties"][name] for part in everything if name in part.get("properties", {})]
            others = [part["additionalProperties"] for part in everything if "additionalProperties" in part]
            if known or others:
                yield from unnamed(known or others, member, f"{place}.{name}")
            else:
                yield f"{place}.{name}: is not in the document"
    elif isinstance(value, list):
        items = [part["items"] for part in everything if "items" in part]
        if value and not items:
            yield f"{place}: nothing says what is in the list"
        for member in value if items else []:
            yield from unnamed(items, member, f"{place}[]")


for schema in components["schemas"].values():
    Draft202012Validator.check_schema(schema)
wrong = []
for answer in asked["answers"]:
    schema = {"components": components, "allOf": [answer["schema"]]}
    for error in Draft202012Validator(schema).iter_errors(answer["body"]):
        wrong.append(f"{answer['what']}: {error.json_path} {error.message}")
    for why in sorted(set(unnamed([answer["schema"]], answer["body"], "$"))):
        wrong.append(f"{answer['what']}: {why}")
print(json.dumps(wrong))
