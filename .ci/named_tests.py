"""Checks that what SECURITY.md names exists: each `name_of_a_test` is a function or a file of tests or examples."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).parent.parent
sources = {path: path.read_text() for folder in ["src", "tests", "examples"] for path in (ROOT / folder).rglob("*.rs")}
functions = {name for text in sources.values() for name in re.findall(r"\bfn (\w+)", text)}
files = {path.stem for path in sources if path.parts[-2] != "src"}
# Labels, which are no functions.
LABELS = {"url_scheme", "user_agent_synthetic_type"} - functions

names = re.findall(r"`([a-z0-9]+(?:_[a-z0-9]+)+)`", (ROOT / ".github/SECURITY.md").read_text())
missing = sorted(set(names) - functions - files - LABELS)
if missing:
    sys.exit(f"FAILED: SECURITY.md names what is neither a function nor a test: {', '.join(missing)}")
print(len(set(names)), "names of tests and options exist")
