"""Runs the quickstart example under load while a real Prometheus scrapes it every second, and compares what
Prometheus has stored with what was sent. Exits with 1 and a message if anything differs. Takes less than a minute.

Needs `cargo`, `prometheus` and `wrk`, and the Python package `prometheus-client` for its strict OpenMetrics parser.
"""

import contextlib
import http.client
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections import Counter, defaultdict

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from processes import HOST, check, end_after, eventually, free_port, process

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
# What Prometheus 2.42 asks for.
ACCEPT = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
# Scrapes are requests too, and go on all the while.
TRAFFIC = '{path!="/metrics"}'

# For wrk: the path, and under which label the requests are counted.
PRESSURE = [
    ("/", "/"),
    ("/hello/wrk", "/hello/{name}"),
    ("/flaky", "/flaky"),
    ("/stream", "/stream"),
    ("/slow", "/slow"),
    ("/nowhere", "unmatched"),
]
WRK_CONNECTIONS = 16
WRK_SECONDS = 3

# An exact number of requests, each read to its end: method, path (with the number of the request), how many.
EXACT = [
    ("GET", "/", 2000),
    ("GET", "/hello/guest-{}", 2000),
    ("GET", "/flaky", 1000),
    ("GET", "/stream", 32),
    ("GET", "/slow", 16),
    ("GET", "/nowhere/{}", 500),
    ("POST", "/", 100),
    ("BREW{}", "/", 100),
]
EXACT_CLIENTS = 8
# What becomes of them: method, path and status as labels.
EXPECTED = {
    ("GET", "/", "200"): 2000,
    ("GET", "/hello/{name}", "200"): 2000,
    ("GET", "/flaky", "200"): 800,
    ("GET", "/flaky", "503"): 200,
    ("GET", "/stream", "200"): 32,
    ("GET", "/slow", "200"): 16,
    ("GET", "unmatched", "404"): 500,
    ("POST", "unmatched", "404"): 100,
    ("_OTHER", "unmatched", "404"): 100,
}
# Connections for each combination of a route and a way to leave it.
ABORTS = 10


class Quickstart:
    """The example, and what it says of itself at `/metrics`."""

    def __init__(self, port):
        self.port = port

    def scrape(self):
        """Samples by name, as pairs of labels and value, from a scrape that passes the strict parser."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("GET", "/metrics", headers={"Accept": ACCEPT})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        check(response.status == 200, f"/metrics answers {response.status}: {body}")
        content_type = response.headers["Content-Type"]
        check(content_type == CONTENT_TYPE, f"/metrics has the content type {content_type!r}, not {CONTENT_TYPE!r}")
        samples = defaultdict(list)
        try:
            for family in text_string_to_metric_families(body):
                for sample in family.samples:
                    samples[sample.name].append((sample.labels, sample.value))
        except ValueError as error:
            check(False, f"the strict parser refuses the scrape: {error}\n{body}")
        counted = sum(number for _, number in samples["request_count_total"])
        timed = sum(number for _, number in samples["request_latency_count"])
        check(counted == timed, f"in one scrape request_count is {counted} and request_latency_count {timed}\n{body}")
        return samples

    def settled(self):
        """The counts by method, path and status, once no request runs and none arrives."""
        last = None

        def attempt():
            nonlocal last
            samples = self.scrape()
            counts = {key: n for key, n in series(samples["request_count_total"]).items() if key[1] != "/metrics"}
            running = sum(n for labels, n in samples["requests_in_progress"] if labels["path"] != "/metrics")
            if running == 0 and counts == last:
                return counts
            last = counts
            time.sleep(0.2)
            return None

        return eventually("requests_in_progress back at 0", 20, attempt)


class Prometheus:
    def __init__(self, port):
        self.port = port

    def get(self, path):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def is_ready(self):
        try:
            return True if self.get("/-/ready")[0] == 200 else None
        except OSError:
            return None

    def query(self, expression):
        """The answer to an instant query, as pairs of labels and value."""
        status, body = self.get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))
        check(status == 200, f"Prometheus refuses {expression}: {body.decode()}")
        return [(result["metric"], float(result["value"][1])) for result in json.loads(body)["data"]["result"]]

    def number(self, expression):
        answer = self.query(expression)
        check(len(answer) == 1, f"Prometheus has {len(answer)} answers, not one, to {expression}")
        return answer[0][1]

    def wait_for_a_further_scrape(self):
        """Waits until Prometheus has stored a scrape of each target that began after now."""
        now = time.time()

        def attempt():
            # Prometheus may shift a timestamp by some milliseconds.
            begun = [began for _, began in self.query("timestamp(up)")]
            return True if begun and min(begun) > now + 0.05 else None

        eventually("a further scrape by Prometheus", 20, attempt)

    def counts(self):
        self.wait_for_a_further_scrape()
        return series(self.query(f"request_count_total{TRAFFIC}"))


def series(samples):
    return {(labels["method"], labels["path"], labels["status"]): int(value) for labels, value in samples}


def difference(after, before):
    return {key: n - before.get(key, 0) for key, n in after.items() if n != before.get(key, 0)}


def press(quickstart):
    """wrk over each route. It does not count the requests that it cuts off when its time is up: one a connection."""
    scrapes = 0
    before = quickstart.settled()
    for path, label in PRESSURE:
        url = f"http://{HOST}:{quickstart.port}{path}"
        arguments = ["wrk", "-t2", f"-c{WRK_CONNECTIONS}", f"-d{WRK_SECONDS}s", url]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as wrk:
            while wrk.poll() is None:
                quickstart.scrape()
                scrapes += 1
                time.sleep(0.5)
            report = wrk.stdout.read()
        check(wrk.returncode == 0, f"wrk failed\n{report}")
        sent = int(re.search(r"(\d+) requests in", report)[1])
        after = quickstart.settled()
        counted = difference(after, before)
        before = after
        number = sum(counted.values())
        print(f"  wrk {path:11} {sent:7} answered, {number:7} counted: {by_status(counted)}")
        check({key[1] for key in counted} == {label}, f"requests for {path} are counted as {counted}")
        check(
            0 < sent <= number <= sent + WRK_CONNECTIONS,
            f"wrk had {sent} answers from {path}, {number} were counted\n{report}",
        )
    print(f"  {scrapes} scrapes under this load passed the strict parser; counter and histogram agree in each")


def by_status(counts):
    totals = Counter()
    for (_, _, status), number in counts.items():
        totals[status] += number
    return ", ".join(f"{number} × {status}" for status, number in sorted(totals.items()))


def send_exactly(quickstart):
    """Sends all of `EXACT`, over connections that are kept alive, and returns how many had which status."""
    requests = [(method.format(n), path.format(n)) for method, path, count in EXACT for n in range(count)]
    statuses = [Counter() for _ in range(EXACT_CLIENTS)]

    def client(number):
        connection = http.client.HTTPConnection(HOST, quickstart.port, timeout=10)
        for method, path in requests[number::EXACT_CLIENTS]:
            connection.request(method, path)
            response = connection.getresponse()
            response.read()
            statuses[number][str(response.status)] += 1
        connection.close()

    clients = [threading.Thread(target=client, args=(number,)) for number in range(EXACT_CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    return sum(statuses, Counter())


def abort(quickstart):
    """Leaves requests in the middle, half of them with a reset, while the gauge has them."""
    connections = []
    for path, reset in itertools.product(["/slow", "/stream"], [True, False]):
        for _ in range(ABORTS):
            connection = socket.create_connection((HOST, quickstart.port))
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: quickstart\r\n\r\n".encode())
            connections.append(connection)

    def running():
        gauge = quickstart.scrape()["requests_in_progress"]
        return sum(n for labels, n in gauge if labels["path"] == "/slow") or None

    seen = eventually("a request for /slow in requests_in_progress", 5, running)
    for connection in connections:
        connection.close()
    print(f"  {len(connections)} connections closed in the middle; the gauge had {seen:.0f} × /slow")


def accept(quickstart, prometheus):
    began = time.time()

    print("Under pressure")
    press(quickstart)

    print("An exact number of requests, as Prometheus has stored them")
    before = prometheus.counts()
    answered = send_exactly(quickstart)
    counted = difference(prometheus.counts(), before)
    for key in sorted(EXPECTED | counted):
        print(f"  {key[0]:6} {key[1]:14} {key[2]}  {EXPECTED.get(key, 0):5} sent, {counted.get(key, 0):5} counted")
    check(answered == {"200": 4848, "503": 200, "404": 700}, f"clients were answered {answered}")
    wrong = [key for key in EXPECTED | counted if EXPECTED.get(key) != counted.get(key)]
    check(not wrong, f"Prometheus has other counts than were sent of {wrong}")

    print("Clients that leave")
    before = quickstart.settled()
    abort(quickstart)
    aborted = difference(quickstart.settled(), before)
    for path in ["/slow", "/stream"]:
        counts = {key: n for key, n in aborted.items() if key[1] == path}
        print(f"  {path:8} {2 * ABORTS} sent, {sum(counts.values())} counted: {by_status(counts)}")
        check(sum(counts.values()) == 2 * ABORTS, f"{2 * ABORTS} requests for {path} were left, {counts} were counted")
    check(set(aborted) <= {("GET", "/slow", "200"), ("GET", "/slow", "499"), ("GET", "/stream", "200")}, f"{aborted}")
    check(("GET", "/slow", "499") in aborted, "no request was reset before there was a response")

    print("In the end")
    expected = quickstart.settled()
    stored = prometheus.counts()
    seconds = int(time.time() - began)
    window = f"[{seconds}s]"
    print(f"  sum(request_count_total{TRAFFIC}): {sum(expected.values())} served, {sum(stored.values())} in Prometheus")
    check(stored == expected, f"the quickstart has {expected}, Prometheus {stored}")
    running = prometheus.number(f"sum(requests_in_progress{TRAFFIC})")
    print(f"  sum(requests_in_progress{TRAFFIC}): {running:.0f}")
    check(running == 0, f"requests_in_progress is {running} when nothing runs")
    up = prometheus.number(f"min_over_time(up{window})")
    scrapes = prometheus.number(f"count_over_time(up{window})")
    print(f"  up over {seconds} s: {scrapes:.0f} samples, the lowest is {up:.0f}")
    check(up == 1 and scrapes > 1, "Prometheus had a scrape that failed")
    disagree = prometheus.query(
        f"count_over_time((sum(request_count_total) != sum(request_latency_count))[{seconds}s:1s])"
    )
    check(not disagree, f"Prometheus has stored a counter that differs from its histogram, {disagree} times")
    # What has a second sample of the same name and labels in one scrape, Prometheus drops without a word.
    samples = sum(len(samples) for samples in quickstart.scrape().values())
    stored = prometheus.number('count({job="quickstart", __name__!~"up|scrape_.+"})')
    print(f"  series: {samples} served, {stored:.0f} in Prometheus")
    check(stored == samples, f"the scrape has {samples} samples, Prometheus stored {stored}")


def start_quickstart(stack, scratch, port=0):
    """Starts the example as a new user would; cargo turns into it, so that both have one process id."""
    log = scratch / "quickstart.log"
    server = stack.enter_context(
        process(
            ["cargo", "run", "--example", "quickstart"],
            log,
            signal.SIGINT,
            env={**os.environ, "PORT": str(port), "VISITORS": "0"},
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    said = server.stdout.readline()
    listening = re.fullmatch(r"Listening on http://127\.0\.0\.1:(\d+)\n", said)
    check(listening, f"the quickstart said {said!r}\n{log.read_text()}")
    print(said, server.stdout.readline(), sep="", end="")
    return Quickstart(int(listening[1])), server, log


def start_prometheus(stack, scratch, quickstart, interval="1s"):
    """Starts a Prometheus of our own, on a free port: the one of Debian's package may be running too."""
    prometheus = Prometheus(free_port())
    job = {"job_name": "quickstart", "static_configs": [{"targets": [f"{HOST}:{quickstart.port}"]}]}
    config = {"global": {"scrape_interval": interval, "scrape_timeout": interval}, "scrape_configs": [job]}
    # JSON is YAML.
    (scratch / "prometheus.yml").write_text(json.dumps(config))
    arguments = [
        "prometheus",
        f"--config.file={scratch / 'prometheus.yml'}",
        f"--storage.tsdb.path={scratch / 'tsdb'}",
        f"--web.listen-address={HOST}:{prometheus.port}",
    ]
    log = scratch / "prometheus.log"
    child = stack.enter_context(process(arguments, log, signal.SIGTERM))

    def attempt():
        check(child.poll() is None, f"Prometheus did not start\n{log.read_text()}")
        return prometheus.is_ready()

    eventually("Prometheus is ready", 20, attempt)
    # Which can take five seconds: it gathers its targets first.
    prometheus.wait_for_a_further_scrape()
    return prometheus


def main():
    end_after(300)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        quickstart, server, log = start_quickstart(stack, scratch)
        prometheus = start_prometheus(stack, scratch, quickstart)
        accept(quickstart, prometheus)

        server.send_signal(signal.SIGINT)
        check(server.wait(10) == 0, f"the quickstart ended with {server.returncode}\n{log.read_text()}")
        check(not re.search("ERROR|panicked", log.read_text()), f"the quickstart complained\n{log.read_text()}")
    print("Accepted.")


if __name__ == "__main__":
    main()
