"""Called by settings-schema.sh: SCHEMA ROOT."""

import json
import pathlib
import re
import sys

import jsonschema
import yaml


class Loader(yaml.SafeLoader):
    """YAML 1.2, as editors read it: `off` and `yes` are texts, not booleans."""


Loader.yaml_implicit_resolvers = {}
for tag, pattern, first in [
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
]:
    letters = [letter if letter != "\0" else "" for letter in first]
    Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(pattern), letters)


def main() -> int:
    schema = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8"))
    root = pathlib.Path(sys.argv[2])
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    findings = []

    examples = [root / "Config/supervisor.yml", *sorted((root / "Config/examples").glob("*.yml"))]
    # What says everything there is, to find what the schema refuses and the parser accepts.
    examples.append(root / "Tests/Fuzzing/Corpus/Settings/everything.yml")
    for path in examples:
        for error in validator.iter_errors(yaml.load(path.read_text(encoding="utf-8"), Loader)):
            findings.append(f"{path.relative_to(root)} is refused: {error.json_path}: {error.message}")

    seen = 0
    for path in sorted((root / "Tests/SettingsTests/Broken").glob("*.yml")):
        text = path.read_text(encoding="utf-8")
        expected = text.startswith("# The schema sees it: yes.")
        if not expected and not text.startswith("# The schema sees it: no."):
            findings.append(f"{path.name} does not say in its first line whether the schema sees it")
            continue
        try:
            is_refused = not validator.is_valid(yaml.load(text, Loader))
        except yaml.YAMLError:
            is_refused = False
        if is_refused and not expected:
            findings.append(f"{path.name} is refused: its first line should say yes")
        if expected and not is_refused:
            findings.append(f"{path.name} is accepted")
        seen += is_refused

    if len(examples) < 5 or seen < 15:
        findings.append(f"only {len(examples)} examples and {seen} refused files were found")
    for finding in findings:
        print(f"settings-schema: {finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
