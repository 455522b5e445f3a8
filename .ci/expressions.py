"""PromQL wherever it stands: dashboards, rules, consoles, and blocks fenced as `promql` in Markdown and in Rust's
documentation. promtool parses each expression, and a running Prometheus must answer it with data.

    python .ci/expressions.py FILE ...                      # parsed
    python .ci/expressions.py --prometheus PORT FILE ...    # and answered
"""

import argparse
import html
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import yaml

from processes import check

# What Grafana fills in, beside the variables of the dashboard.
BUILT_IN = {"__rate_interval": "1m", "__interval": "1m", "__range": "5m"}
STRING = r'"(?:[^"\\]|\\.)*"' + r"|'(?:[^'\\]|\\.)*'|`[^`]*`"
TOKEN = re.compile(
    rf"""(?P<string>{STRING})
    |(?P<grouping>\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\))
    |(?P<window>\[[^]]*\])
    |(?P<selector>[a-zA-Z_:][\w:]*\s*\{{(?:[^}}"]|{STRING})*\}}|\{{(?:[^}}"]|{STRING})*\}})
    |(?P<call>[a-zA-Z_:][\w:]*(?:\s*\(|(?=\s+(?:by|without)\b)))
    |(?P<keyword>\b(?:and|or|unless|bool|offset|atan2|by|without|group_left|group_right)\b)
    |(?P<number>\d[\w.]*|\b(?i:inf|nan)\b)
    |(?P<metric>[a-zA-Z_:][\w:]*)""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Expression:
    where: str
    text: str
    # An alert has an answer only when it fires: then what it selects must have one.
    is_alert: bool = False


def selectors(text):
    """The metrics that an expression reads, with the matchers of their labels."""
    return [match[0] for match in TOKEN.finditer(text) if match.lastgroup in ("selector", "metric")]


def of_dashboard(path):
    dashboard = json.loads(path.read_text())
    values = {}
    for variable in dashboard["templating"]["list"]:
        values[variable["name"]] = variable["query"] if variable["type"] == "constant" else ".*"
    values |= BUILT_IN

    def fill(text):
        return re.sub(r"\$\{(\w+)\}|\$(\w+)", lambda match: values[match[1] or match[2]], text)

    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield Expression(f"{path.name}: {panel['title']}", fill(target["expr"]))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            # `label_values(selector, label)`
            selector = fill(variable["query"]["query"]).removeprefix("label_values(").rpartition(",")[0]
            yield Expression(f"{path.name}: variable {variable['name']}", selector)


def of_rules(path):
    for group in yaml.safe_load(path.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("alert") or rule["record"]
            yield Expression(f"{path.name}: {name}", rule["expr"], "alert" in rule)


def of_console(path):
    text = path.read_text()
    found = re.findall(
        r"""data-expr='([^']*)'|data-expr="\{\{ printf "((?:[^"\\]|\\.)*)"|query (?:\(printf )?"((?:[^"\\]|\\.)*)\"""",
        text,
    )
    for plain, formatted, queried in found:
        expression = html.unescape(plain) or (formatted or queried).replace('\\"', '"')
        # What the page is asked for.
        yield Expression(path.name, re.sub(r"=%q", '=~".+"', expression))


def of_document(path):
    """Blocks that are fenced as `promql`: one expression each, or several with an empty line between."""
    prefix = r"[ \t]*(?://[/!] ?)?"
    for block in re.findall(rf"^{prefix}```promql\n(.*?)^{prefix}```", path.read_text(), re.MULTILINE | re.DOTALL):
        lines = [re.sub(rf"^{prefix}", "", line) for line in block.splitlines()]
        for part in "\n".join(line for line in lines if not line.startswith("#")).split("\n\n"):
            if part.strip():
                yield Expression(path.name, part.strip())


def found(path):
    reader = {".json": of_dashboard, ".yml": of_rules, ".html": of_console}.get(path.suffix, of_document)
    return list(reader(path))


def parse(expressions):
    """promtool reads all of them, as rules."""
    rules = [{"record": f"number_{number}", "expr": one.text} for number, one in enumerate(expressions)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "expressions", "rules": rules}]}))
        answer = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    said = answer.stdout + answer.stderr
    named = re.sub(
        r"number_(\d+)", lambda match: f"{expressions[int(match[1])].where}: {expressions[int(match[1])].text}", said
    )
    check(answer.returncode == 0, f"promtool does not take an expression\n{named}")


def unanswered(prometheus, expressions, silent=()):
    """Says which expressions have no answer, as far as their metrics are not among those that are `silent` for good
    reasons."""

    def has_data(text):
        return any(not math.isnan(value) for _, value in prometheus.query(text))

    def is_silent(selector):
        return re.match(r"\w*", selector)[0] in silent

    empty = {}
    for one in expressions:
        if one.is_alert:
            # Must not be an error.
            prometheus.query(one.text)
        missing = [name for name in selectors(one.text) if not is_silent(name) and not has_data(name)]
        is_expected = not one.is_alert and not all(map(is_silent, selectors(one.text) or [""]))
        if missing:
            empty.setdefault(f"{one.where}: {one.text}", f"without data: {', '.join(missing)}")
        elif is_expected and not has_data(one.text):
            empty.setdefault(f"{one.where}: {one.text}", "each metric has data, and the expression has none")
    return [f"{where}\n    {why}" for where, why in empty.items()]


def main():
    from acceptance import Prometheus

    parser = argparse.ArgumentParser(description="Parses PromQL, and asks a running Prometheus for it.")
    parser.add_argument("--prometheus", type=int, metavar="PORT")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    expressions = [one for path in options.files for one in found(path)]
    parse(expressions)
    if options.prometheus:
        missing = unanswered(Prometheus(options.prometheus), expressions)
        if missing:
            sys.exit("\n".join(missing))
    print(f"{len(expressions)} expressions")


if __name__ == "__main__":
    main()
