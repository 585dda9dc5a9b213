"""Judges the objects of a YAML file by the schemas of Kubernetes.

Reads the file from stdin. Prints a line of JSON: how many objects were judged, the kinds for which
there is no schema, and what is wrong.
"""

import json
import sys

import kubernetes_validate
import yaml

VERSION = "1.34"


def main():
    judged, unknown, wrong = 0, [], []
    for found in yaml.safe_load_all(sys.stdin):
        if found is None:
            continue
        name = f"{found['kind']} {found['metadata']['name']}"
        try:
            kubernetes_validate.validate(found, VERSION, strict=True)
            judged += 1
        except kubernetes_validate.SchemaNotFoundError:
            unknown.append(found["kind"])
        except kubernetes_validate.ValidationError as error:
            place = ".".join(str(part) for part in error.path)
            wrong.append(f"{name}: {place}: {error.message}")
    print(json.dumps({"judged": judged, "unknown": unknown, "wrong": wrong}))


main()
