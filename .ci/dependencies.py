"""Checks the licences of what this crate needs, and that nothing comes in two versions without a reason; offline.

Looks at what a user builds with all features on this platform: not at dev-dependencies.
"""

import json
import re
import subprocess
import sys

# In a choice one of them is enough.
LICENCES = {"MIT", "Apache-2.0", "Zlib", "Unicode-3.0", "BSD-3-Clause", "Unlicense", "0BSD", "BSL-1.0"}

# Crates in two versions, and who needs both.
TWICE = {
    "prometheus": "a user may have either version, by the features prometheus-0_13 and prometheus-0_14",
    "thiserror": "1 by the two versions of prometheus, 2 by protox",
    "thiserror-impl": "as thiserror",
    "syn": "2 and 3 by derive macros, for the build alone",
}


def metadata():
    host = re.search(r"host: (\S+)", subprocess.check_output(["rustc", "-vV"], text=True)).group(1)
    command = ["cargo", "metadata", "--offline", "--locked", "--all-features", "--format-version=1", "--filter-platform", host]
    return json.loads(subprocess.check_output(command, text=True))


def needed(data, kinds):
    """The packages that a user needs for these kinds of dependencies; `None` is the normal one."""
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    found, ahead = set(), [data["resolve"]["root"]]
    while ahead:
        package = ahead.pop()
        if package not in found:
            found.add(package)
            deps = nodes[package]["deps"]
            ahead += [dep["pkg"] for dep in deps if any(kind["kind"] in kinds for kind in dep["dep_kinds"])]
    return [package for package in data["packages"] if package["id"] in found]


def is_allowed(expression):
    """Whether an SPDX expression is met by the licences above; `/` is how it was written once."""
    text = expression.replace("/", " OR ")
    text = re.sub(r"([\w.-]+) WITH [\w.-]+", r"\1", text)
    words = re.sub(r"[\w.-]+", lambda word: {"OR": "or", "AND": "and"}.get(word[0]) or str(word[0] in LICENCES), text)
    return eval(words)


data = metadata()
packages = needed(data, [None, "build"])
faults = [
    f"{package['name']} {package['version']} has the licence {package['license']}"
    for package in packages
    if not package["license"] or not is_allowed(package["license"])
]
names = [package["name"] for package in needed(data, [None])]
twice = {name for name in names if names.count(name) > 1}
faults += [f"{name} comes in two versions: update one, or write down who needs both" for name in sorted(twice - TWICE.keys())]
faults += [f"{name} does not come in two versions any more: delete its reason" for name in sorted(TWICE.keys() - twice)]
if faults:
    sys.exit("FAILED: " + "\n".join(faults))
print(len(packages), "packages with licences that are allowed;", ", ".join(sorted(twice)), "come twice")
