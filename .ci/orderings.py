"""Runs the models of `src/orderings.rs`: the orders in which threads may meet, by loom, with at most three preemptions.

The configuration is given to this crate alone, so nothing else is built anew.
"""

import json
import subprocess

BUILD = ["cargo", "rustc", "--quiet", "--all-features", "--lib", "--profile", "test", "--message-format=json-render-diagnostics"]

messages = subprocess.run([*BUILD, "--", "--cfg", "hr_loom"], stdout=subprocess.PIPE, text=True, check=True).stdout
programs = [json.loads(line).get("executable") for line in messages.splitlines()]
program = next(program for program in programs if program)
# Only the models: what is not within one has no locks now.
subprocess.run([program, "orderings::"], check=True)
