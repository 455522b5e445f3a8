"""Runs the storm of `benches/storm`, and lets judges from outside scrape it meanwhile: the strict parsers of Python in
each format, and a real Prometheus. Exits with 1 and a message if the storm, a parser or Prometheus complains.

    .ci/storm.py [SECONDS [SEED]]

Needs `cargo` and `prometheus`, and the packages of `.ci/requirements.txt`.
"""

import contextlib
import http.client
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass

import formats
from acceptance import start_prometheus
from processes import HOST, check, end_after, process

SECONDS = 60
# It takes a while until the release profile is built, and until what is left runs out.
BUILD_SECONDS = 900


@dataclass
class Target:
    port: int


def built():
    """The program. It is started without cargo, which does not hand a signal on to a benchmark."""
    arguments = ["cargo", "bench", "--quiet", "--all-features", "--bench", "storm", "--no-run", "--message-format=json"]
    messages = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    executables = [json.loads(message).get("executable") for message in messages]
    return next(executable for executable in executables if executable)


def scrape(port, content_type, parse):
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request("GET", "/metrics", headers={"Accept": content_type})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    check(response.status == 200, f"/metrics answers {response.status}: {body[:1000]}")
    check(response.headers["Content-Type"] == content_type, f"/metrics has the type {response.headers['Content-Type']}")
    try:
        found = parse(body)
    except formats.Refused as error:
        check(False, f"a scrape in the storm is refused: {error}")
    counted, timed = (
        sum(float(value) for (of, _), value in found.samples.items() if of == name)
        for name in ("request_count_total", "request_latency_count")
    )
    check(counted == timed, f"in one scrape request_count is {counted} and request_latency_count {timed}")


def read_to_end(storm, ended):
    """Prints what the storm says. It says its tables once it is over."""
    for line in storm.stdout:
        print("  " + line, end="", flush=True)
        if line.startswith("ending "):
            ended.append(time.time())
    ended.append(time.time())


def main():
    given = [int(argument) for argument in sys.argv[1:]]
    seconds, seed = given + [SECONDS, 1][len(given) :]
    end_after(2 * seconds + BUILD_SECONDS)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = scratch / "storm.log"
        arguments = [built(), "--seed", str(seed), "--seconds", str(seconds)]
        storm = stack.enter_context(process(arguments, log, signal.SIGINT, stdout=subprocess.PIPE, text=True))
        said = storm.stdout.readline()
        metrics = re.fullmatch(r"Metrics at http://127\.0\.0\.1:(\d+)/metrics\n", said)
        check(metrics, f"the storm said {said!r}\n{log.read_text()}")
        target = Target(int(metrics[1]))
        ended = []
        reader = threading.Thread(target=read_to_end, args=(storm, ended), daemon=True)
        reader.start()
        prometheus = start_prometheus(stack, scratch, target, interval="5s")

        scrapes = Counter()
        while not ended:
            for name, content_type, parse in formats.FORMATS:
                # One that is under way when the storm ends is none.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    scrape(target.port, content_type, parse)
                    scrapes[name] += 1
            time.sleep(0.5)
        judge(prometheus, seconds, ended[0])
        reader.join()
        check(storm.wait(10) == 0, f"the storm ended with {storm.returncode}\n{log.read_text()}")
        print("From outside: " + ", ".join(f"{number} × {name}" for name, number in scrapes.items()))
        check(all(scrapes[name] for name, *_ in formats.FORMATS), "a format was never scraped")


def judge(prometheus, seconds, at):
    window = f"[{seconds}s] @ {at:.3f}"
    up = prometheus.number(f"min_over_time(up{window})")
    number = prometheus.number(f"count_over_time(up{window})")
    print(f"Prometheus: {number:.0f} scrapes, the lowest `up` is {up:.0f}")
    check(up == 1 and number > 1, "Prometheus had a scrape that failed")
    resets = prometheus.number(f"sum(resets(request_count_total{window}))")
    check(resets == 0, f"Prometheus saw {resets} resets of the counter")
    disagree = prometheus.query(
        f"count_over_time((sum(request_count_total) != sum(request_latency_count))[{seconds}s:5s] @ {at:.3f})"
    )
    check(not disagree, f"Prometheus has stored a counter that differs from its histogram, {disagree} times")


if __name__ == "__main__":
    main()
