"""Finds phrases that read as if translated. Each has a plain English one, which is printed beside it.

    python3 .ci/prose.py            # all of FILES
    python3 .ci/prose.py src/*.rs   # these instead
"""

import pathlib
import re
import sys

from processes import check

ROOT = pathlib.Path(__file__).parent.parent
# Where the phrases are gone, and stay away: all prose but that of tests, of benchmarks and of this folder.
FILES = ["README.md", "CHANGELOG.md", ".github/*.md", "src/guide/*", "src/**/*.rs", "src/**/*.html", "src/**/*.js", "examples/**/*", "benches/**/*.md"]

# A regular expression, in which a blank is any white space, and what to write instead.
PHRASES = [
    (r"of (?:one's|its|his|their|your|my) own", "custom, separate, or nothing"),
    (r"(?<!\#\x20)(?-i:What) (?:is|was|are|has|would|goes|can|could|cannot) [^?.|`\n]*", "the thing itself: excluded requests"),
    (r"(?:is|are|was|were|be|been) left out", "excluded (requests), omitted or skipped (families)"),
    (r"where nobody \w+ (?:\w+ )?(?:otherwise|differently)", "by default"),
    (r"likes? (?:it )?(?:best|better)|the client likes", "prefers; negotiated from `Accept`"),
    (r"(?:has|have|had) not[.,;:)]", "does not have, without"),
    (r"in place of", "instead of"),
    (r"(?:beyond|into|over) the cap\b", "over the limit; cardinality limit"),
    (r"so many (?:instructions|allocations|lines)", "a caption: Instructions added per request"),
    (r"stands? (?:for|in)\b", "represents, is in"),
    (r"a request counts when", "Requests are counted when they finish"),
    (r"serves a small application", "starts a demo server"),
    (r"be woken by", "alert on"),
    (r"none of them notices", "the others are unaffected"),
    (r"(?:is|are|was|were) said once|says it once", "logged once"),
    (r"to do what", "to … | use"),
    (r"as you like", "at your option, freely"),
    (r"the one that .{1,40} likes", "the preferred one"),
    (r"given something wrong", "given a wrong value"),
    (r"at the most", "at most"),
    (r"all the same[.,;:]", "still, nevertheless"),
    (r"in the making", "that is being made; its future"),
    (r"(?:further|more) ones are not logged", "(logged once)"),
    (r"gives? back", "returns"),
]
# A line break within a phrase, with the sign of a comment or a list on the next line.
BLANK = r"(?:[ \t]|\n\s*(?://[/!]?|\#|>)?)+"


def main():
    arguments = [pathlib.Path(argument) for argument in sys.argv[1:]]
    files = arguments or sorted({path for pattern in FILES for path in ROOT.glob(pattern) if path.is_file()})
    check(files, "no file to read")
    found = []
    for path in files:
        text = path.read_text()
        for phrase, instead in PHRASES:
            for match in re.finditer(r"\b" + phrase.replace(" ", BLANK), text, re.IGNORECASE):
                line = text.count("\n", 0, match.start()) + 1
                found.append(f"{path}:{line}: {' '.join(match[0].split())!r}; write: {instead}")
    check(not found, "\n".join([f"{len(found)} phrases", *found]))
    print(f"none of {len(PHRASES)} phrases in {len(files)} files")


main()
