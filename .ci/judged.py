"""The program in `.ci/judged`, built and started."""

import contextlib
import json
import os
import signal
import subprocess

from processes import check, process

MANIFEST = ".ci/judged/Cargo.toml"


def start(stack, mode, log):
    """Starts it in a mode of it; cargo turns into it, so that both have one process id."""
    # What the library has built serves here too.
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    arguments = ["cargo", "run", "--quiet", "--locked", "--manifest-path", MANIFEST, "--target-dir", target, mode]
    return stack.enter_context(
        process(arguments, log, signal.SIGINT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    )


def ask(judged, log, families):
    """Gives it families, and returns what it answers."""
    answer = ""
    with contextlib.suppress(BrokenPipeError):
        judged.stdin.write(json.dumps(families) + "\n")
        judged.stdin.flush()
        answer = judged.stdout.readline()
    if not answer:
        # Read only now: it has a line for each omission.
        check(False, f"`judged` ended\n{log.read_text()}")
    return json.loads(answer)
