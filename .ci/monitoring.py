"""What lies in `examples/monitoring`, on real software: dashboards against Grafana's schema, each expression answered by a
Prometheus that `examples/monitoring/run` starts, its consoles in a browser, three replicas added up, and one of them killed
under load. Pictures of the consoles are kept in the folder that is given.

Needs `cargo`, `prometheus`, `npm` and a browser.
"""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections import Counter

import yaml

from acceptance import Prometheus
from browser import browser
from expressions import found, parse, selectors, unanswered
from processes import HOST, check, end_after, eventually

ROOT = pathlib.Path(__file__).resolve().parent.parent
MONITORING = ROOT / "examples" / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana").glob("*.json"))
# All that has expressions: whoever writes a query into the documentation has it checked.
GUIDE = sorted((ROOT / "src/guide").glob("*.md"))
DOCUMENTS = [ROOT / "README.md", *sorted(MONITORING.glob("*.md")), *sorted((ROOT / "src").rglob("*.rs")), *GUIDE]
SOURCES = [*DASHBOARDS, MONITORING / "rules.yml", *sorted((MONITORING / "consoles").glob("*.html")), *DOCUMENTS]
# What the demo does not have: it has no limit on labels, and alerts that last take longer than this.
SILENT = {"hr_prometheus_cardinality_limit_exceeded_total", "ALERTS"}
PACKAGES = ["@grafana/schema@13.2.3", "typescript@7.0.2"]

SENT = [
    {"/": 30, "/hello/{name}": 60, "/flaky": 50, "/slow": 2, "unmatched": 20},
    {"/": 7, "/hello/{name}": 1, "/flaky": 25, "/slow": 1, "unmatched": 0},
    {"/": 100, "/hello/{name}": 200, "/flaky": 10, "/slow": 3, "unmatched": 5},
]
PATHS = {"/hello/{name}": "/hello/guest", "unmatched": "/nowhere"}
TRAFFIC = 'job="quickstart", path!~"/metrics|/live"'


def fixed():
    """What can be said without starting anything."""
    sys.path.insert(0, str(MONITORING / "grafana"))
    sys.dont_write_bytecode = True
    import generate

    for name, text in generate.texts().items():
        check((MONITORING / "grafana" / name).read_text() == text, f"{name} is not what generate.py writes: run it")
    check(
        {path.name for path in DASHBOARDS} == set(generate.DASHBOARDS),
        "there are dashboards that generate.py does not write",
    )
    print(f"  {len(DASHBOARDS)} dashboards are what generate.py writes")

    alerts = {
        rule["alert"]
        for group in yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    fires, rests = set(), set()
    for path in MONITORING.glob("*_test.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else rests).add(case["alertname"])
    check(fires == alerts, f"no test has these alerts fire: {alerts - fires}")
    check(rests == alerts, f"no test has these alerts rest: {alerts - rests}")
    headings = set(re.findall(r"^### (\w+)$", (MONITORING / "README.md").read_text(), re.MULTILINE))
    check(
        headings == alerts,
        f"the README has a section for each alert but {alerts - headings}, and needs none for {headings - alerts}",
    )
    print(
        f"  {len(alerts)} alerts have a test in which they fire, one in which they do not, and a section of the README"
    )

    compose = yaml.safe_load((MONITORING / "compose.yaml").read_text())
    for name, service in compose["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            check(
                not source.startswith(".") or (MONITORING / source).exists(),
                f"compose.yaml: {name} mounts {source}, which is not there",
            )
        check("image" in service or "extends" in service, f"compose.yaml: {name} has no image")
    provisioned = list((MONITORING / "grafana" / "provisioning").rglob("*.yml"))
    for path in provisioned:
        check(yaml.safe_load(path.read_text())["apiVersion"] == 1, f"{path.name} has no `apiVersion: 1`")
    print(
        f"  compose.yaml: {', '.join(compose['services'])}; mounts what is there, and {len(provisioned)} files provision Grafana"
    )

    blocks = re.findall(r"^```yaml\n(.*?)^```", (MONITORING / "SCALE.md").read_text(), re.MULTILINE | re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "prometheus.yml"
        for text in [*blocks, (MONITORING / "demo" / "prometheus.yml").read_text().replace("../", f"{MONITORING}/")]:
            path.write_text(text)
            answer = subprocess.run(["promtool", "check", "config", str(path)], capture_output=True, text=True)
            check(answer.returncode == 0, f"promtool does not take a configuration\n{text}\n{answer.stdout}{answer.stderr}")
    print(f"  {len(blocks)} configurations of SCALE.md and that of the demo are valid")


def of_schema(scratch):
    """The dashboards as literals of the types that Grafana publishes."""
    folder = scratch / "schema"
    folder.mkdir()
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES]
    if subprocess.run(install).returncode:
        time.sleep(5)
        check(subprocess.run(install).returncode == 0, "npm cannot install Grafana's schema")
    shutil.copy(ROOT / ".ci" / "dashboard.ts", folder)
    for path in DASHBOARDS:
        literal = f'import type {{ Dashboard }} from "./dashboard";\nexport const dashboard: Dashboard = {path.read_text()};\n'
        (folder / f"{path.stem}.ts").write_text(literal)
    options = [
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "--moduleResolution",
        "nodenext",
        "--target",
        "esnext",
    ]
    compiler = str(folder / "node_modules" / ".bin" / "tsc")
    answer = subprocess.run(
        [compiler, *options, *(f"{path.stem}.ts" for path in DASHBOARDS)], cwd=folder, capture_output=True, text=True
    )
    check(answer.returncode == 0, f"a dashboard does not fit Grafana's schema\n{answer.stdout}")
    print(f"  {len(DASHBOARDS)} dashboards fit {', '.join(PACKAGES)}")


MARK = "HR_PROMETHEUS_TEST"


def marked(mark):
    """The processes that have this value of our variable in their environment."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def kill_all(numbers):
    for number in numbers:
        with contextlib.suppress(OSError):
            os.kill(number, signal.SIGKILL)


class Demo:
    """`examples/monitoring/run`, as a user starts it."""

    def __init__(self, stack, scratch, name, *arguments):
        self.mark = str(uuid.uuid4())
        self.log = scratch / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [MONITORING / "run", "--any-port", "--interval", "1s", *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | {MARK: self.mark},
            )
        stack.callback(self.abandon)
        eventually("the demo runs", 240, self.has_started)
        said = self.log.read_text()
        self.replicas = [
            (int(port), int(number))
            for port, number in re.findall(r"^Replica http://[\d.]+:(\d+), process (\d+)", said, re.MULTILINE)
        ]
        self.prometheus = Prometheus(int(re.search(r"^Prometheus http://[\d.]+:(\d+)", said, re.MULTILINE)[1]))
        print("  " + said[said.index("Replica ") :].strip().replace("\n", "\n  "))

    def has_started(self):
        check(self.process.poll() is None, f"the demo has ended\n{self.log.read_text()}")
        return True if "Ctrl-C stops it all." in self.log.read_text() else None

    def survivors(self):
        return marked(self.mark)

    def stop(self, how=signal.SIGINT):
        check(len(self.survivors()) >= 6, f"of the demo there are only {self.survivors()}")
        self.process.send_signal(how)
        check(self.process.wait(15) == 0, f"the demo ended with {self.process.returncode}\n{self.log.read_text()}")
        check(not self.survivors(), f"these survive {how.name}: {self.survivors()}")
        print(f"  {how.name} ends all of it")

    def abandon(self):
        kill_all(self.survivors())
        self.process.wait()


def fails_to_start(scratch):
    """Without Prometheus, and with one that ends at once: a reason, and nothing that goes on."""
    for name, script in [("none", None), ("broken", "#!/bin/sh\necho it is broken\nexit 1\n")]:
        folder = scratch / f"programs-{name}"
        folder.mkdir()
        path = str(folder)
        if script:
            (folder / "prometheus").write_text(script)
            (folder / "prometheus").chmod(0o755)
            path += os.pathsep + os.environ["PATH"]
        mark = str(uuid.uuid4())
        answer = subprocess.run(
            [sys.executable, MONITORING / "run", "--any-port"],
            env=os.environ | {MARK: mark, "PATH": path},
            capture_output=True,
            text=True,
            timeout=120,
        )
        survivors = marked(mark)
        kill_all(survivors)
        reason = "it is broken" if script else "apt install prometheus"
        check(
            answer.returncode == 1 and reason in answer.stderr,
            f"with Prometheus {name} it says {answer.stderr!r} and ends with {answer.returncode}",
        )
        check(not survivors, f"with Prometheus {name} these survive: {survivors}")
    print("  without Prometheus, or with one that is broken, it says so and nothing survives")


def answered(demo):
    """Each expression parses and has data, from what the demo sends."""
    expressions = [one for path in SOURCES for one in found(path)]
    parse(expressions)
    missing = None

    def attempt():
        nonlocal missing
        missing = unanswered(demo.prometheus, expressions, SILENT)
        return None if missing else True

    deadline = time.monotonic() + 45
    while not attempt() and time.monotonic() < deadline:
        time.sleep(3)
    check(not missing, "expressions without an answer:\n" + "\n".join(missing or []))
    sources = Counter(one.where.partition(":")[0] for one in expressions)
    print("  answered with data: " + ", ".join(f"{number} of {name}" for name, number in sources.items()))
    silent = [
        one.where for one in expressions if any(re.match(r"\w*", name)[0] in SILENT for name in selectors(one.text))
    ]
    print(f"  without data, as expected: {', '.join(silent)}")
    # A rule that is loaded and fails shows here alone.
    _, body = demo.prometheus.get("/api/v1/rules")
    for group in json.loads(body)["data"]["groups"]:
        for rule in group["rules"]:
            check(rule["health"] == "ok", f"rule {rule['name']}: {rule['health']} {rule.get('lastError')}")
    return expressions


def never_negative(demo, expressions):
    """Rates and increases, in each second of the last minutes."""
    rates = [
        one
        for one in expressions
        if re.search(r"\b(rate|increase)\(", one.text) and not one.is_alert and "1 - (" not in one.text
    ]
    end = time.time()
    for one in rates:
        asked = urllib.parse.urlencode(
            {
                "query": one.text.replace("[5m]", "[10s]").replace("[1m]", "[10s]"),
                "start": end - 120,
                "end": end,
                "step": 1,
            }
        )
        status, body = demo.prometheus.get(f"/api/v1/query_range?{asked}")
        check(status == 200, body.decode())
        for series in json.loads(body)["data"]["result"]:
            low = min(float(value) for _, value in series["values"])
            check(not low < 0, f"{one.where} was {low} for {series['metric']}: {one.text}")
    print(f"  {len(rates)} rates were never negative")


def send(port, path, count):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    for _ in range(count):
        connection.request("GET", PATHS.get(path, path))
        connection.getresponse().read()
    connection.close()


def sums(prometheus, metric, by="path"):
    return {
        labels[by]: int(value) for labels, value in prometheus.query(f"sum by ({by}) ({metric}{{{TRAFFIC}}})") if value
    }


def added_up(demo):
    """Three replicas with requests of their own, and what Prometheus has of all of them."""
    for (port, _), paths in zip(demo.replicas, SENT):
        for path, count in paths.items():
            send(port, path, count)
    sent = {path: sum(paths[path] for paths in SENT) for path in SENT[0]}
    demo.prometheus.wait_for_a_further_scrape()
    for metric in ["request_count_total", "request_latency_count"]:
        counted = sums(demo.prometheus, metric)
        check(counted == sent, f"{sent} were sent to three replicas, {metric} adds up to {counted}")
    # Each replica fails every fifth call of its own.
    failed = demo.prometheus.number('sum(request_count_total{job="quickstart", status="503"})')
    check(failed == 17, f"17 calls of /flaky failed, Prometheus has {failed:.0f}")
    for path, met in [("/hello/{name}", True), ("/slow", False)]:
        both = [
            demo.prometheus.number(f'sum(request_objective_{kind}_total{{path="{path}"}})')
            for kind in ("met", "missed")
        ]
        check(sum(both) == sent[path], f"of {sent[path]} requests for {path} {both} met or missed the objective")
        check(both[0 if met else 1] == sent[path], f"the objective of {path}: {both} met or missed it")
    running = demo.prometheus.number(f"sum(requests_in_progress{{{TRAFFIC}}})")
    check(running == 0, f"{running:.0f} requests are in progress when nothing runs")
    print(
        f"  {sum(sent.values())} requests to three replicas: counter, histogram, failures and objectives add up to what was sent"
    )
    return sent


class Load:
    """One client for each replica, that remembers when each request was sent and answered."""

    def __init__(self, ports):
        self.is_over = threading.Event()
        self.answered = {port: [] for port in ports}
        self.threads = [threading.Thread(target=self.client, args=(port,)) for port in ports]
        for thread in self.threads:
            thread.start()

    def client(self, port):
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        while not self.is_over.wait(0.005):
            began = time.time()
            try:
                connection.request("GET", "/")
                connection.getresponse().read()
                self.answered[port].append((began, time.time()))
            except (OSError, http.client.HTTPException):
                connection.close()

    def stop(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()


def killed(demo, expressions):
    """A replica is killed under load and comes back: counters go on, and nothing that was scraped is lost."""
    metric = f'request_count_total{{job="quickstart", path="/", status="200"}}'
    earlier = {labels["instance"]: int(value) for labels, value in demo.prometheus.query(metric)}
    ports = [port for port, _ in demo.replicas]
    load = Load(ports)
    time.sleep(4)
    victim, number = demo.replicas[1]
    os.kill(number, signal.SIGKILL)
    death = time.time()
    eventually("the replica is back", 20, lambda: True if f":{victim} is back" in demo.log.read_text() else None)
    time.sleep(4)
    load.stop()
    demo.prometheus.wait_for_a_further_scrape()
    demo.prometheus.wait_for_a_further_scrape()

    for port in ports:
        instance = f"{HOST}:{port}"
        series = raw(demo.prometheus, f'request_count_total{{instance="{instance}", path="/", status="200"}}[3m]')
        values = [value for _, value in series]
        falls = [place for place in range(1, len(values)) if values[place] < values[place - 1]]
        requests = load.answered[port]
        if port != victim:
            expected = earlier[instance] + len(requests)
            check(
                not falls and values[-1] == expected,
                f"{instance} answered {expected} requests, Prometheus has {values[-1]:.0f}, resets {falls}",
            )
            print(f"  {instance}: {expected} answered, {values[-1]:.0f} counted")
            continue
        check(len(falls) == 1, f"{instance} was killed once, and its counter fell {len(falls)} times: {values}")
        scraped, last = series[falls[0] - 1]
        least = earlier[instance] + sum(answered < scraped - 0.1 for _, answered in requests)
        # One that was under way had no answer, and may have been counted.
        most = earlier[instance] + sum(sent < scraped + 0.1 for sent, _ in requests) + 1
        check(
            least <= last <= most,
            f"before the end Prometheus had {last:.0f} requests of {instance}, {least} to {most} were sent",
        )
        after = sum(sent > death for sent, _ in requests)
        check(
            values[-1] == after,
            f"after its restart {instance} answered {after} requests, Prometheus has {values[-1]:.0f}",
        )
        restarted = demo.prometheus.number(
            f'resets(request_count_total{{instance="{instance}", path="/", status="200"}}[3m])'
        )
        check(restarted == 1, f"Prometheus saw {restarted} resets")
        # From the first sample to the last one: what `increase` is made of.
        grown = sum(new if new < old else new - old for old, new in zip(values, values[1:]))
        check(grown == last - values[0] + after, f"{instance} grew by {grown:.0f}")
        print(
            f"  {instance}: killed; {last - earlier[instance]:.0f} counted up to the last scrape, {after} answered afterwards, all of them counted"
        )
    down = raw(demo.prometheus, f'up{{instance="{HOST}:{victim}"}}[3m]')
    check({value for _, value in down} == {0.0, 1.0}, "Prometheus did not see that the replica was down")
    never_negative(demo, expressions)


def raw(prometheus, selector):
    """The samples of one series, as they are stored."""
    _, body = prometheus.get("/api/v1/query?" + urllib.parse.urlencode({"query": selector}))
    result = json.loads(body)["data"]["result"]
    check(len(result) == 1, f"{selector}: {len(result)} series")
    return [(float(at), float(value)) for at, value in result[0]["values"]]


# Plots with a line that has several points, of all.
DRAWN = """[...document.querySelectorAll("[data-plot]")].map((plot) =>
    [...plot.querySelectorAll("path[stroke]")].some((line) => line.getAttribute("d").split("L").length > 2))"""


def look(demo, page, pictures, name, url):
    page.size(1280, 900)
    page.open(url)
    # It asks again every 15 s.
    page.eventually(f"all plots of {name}", f"(({DRAWN}).every(Boolean) && ({DRAWN}).length)", 50)
    plots, lines = page.value(f"[({DRAWN}).length, document.querySelectorAll('[data-plot] path[stroke]').length]")
    origin = f"http://{HOST}:{demo.prometheus.port}/"
    others = [asked for asked in page.requested if not asked.startswith((origin, "data:"))]
    check(not others, f"{name} asks for {others}")
    check(not page.complaints, f"the browser complains of {name}: {page.complaints}")
    for width, height, scheme, shape in [
        (1280, 900, "light", "light"),
        (1280, 900, "dark", "dark"),
        (390, 844, "light", "phone"),
    ]:
        page.look(width, height, scheme, pictures / f"console-{name}-{shape}.png")
        wide = page.value("document.documentElement.scrollWidth")
        check(wide <= width, f"{name} is {wide} pixels wide on {width}")
    print(f"  {name}: {plots} plots with {lines} lines, no complaint, no request to elsewhere")


def consoles(demo, page, pictures):
    start = f"http://{HOST}:{demo.prometheus.port}/consoles/overview.html"
    look(demo, page, pictures, "overview", start)
    routes = page.value("[...document.querySelectorAll('td a')].map((link) => link.textContent)")
    check(
        {"GET /hello/{name}", "GET /slow", "GET /flaky", "GET /blocking", "GET unmatched"} <= set(routes),
        f"the console has the routes {routes}",
    )
    page.size(1280, 900)
    page.value(
        "[...document.querySelectorAll('td a')].find((link) => link.textContent === 'GET /hello/{name}').id = 'wanted'; 0"
    )
    page.click("#wanted")
    page.eventually(
        "the page of the route", "document.querySelector('h1')?.textContent === 'GET /hello/{name} quickstart'"
    )
    look(demo, page, pictures, "route", page.value("location.href"))
    page.value(
        "document.getElementById('range').value = '3600'; document.getElementById('range').dispatchEvent(new Event('change'))"
    )
    page.eventually("another range", f"(({DRAWN}).every(Boolean))")
    check(not page.complaints, f"the browser complains: {page.complaints}")


def main():
    end_after(420)
    pictures = pathlib.Path(sys.argv[1]).resolve()
    pictures.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        print("Files")
        fixed()
        of_schema(scratch)
        print("Three replicas, one killed")
        demo = Demo(stack, scratch, "silent", "--no-load")
        added_up(demo)
        killed(demo, [one for path in DASHBOARDS + [MONITORING / "rules.yml"] for one in found(path)])
        demo.stop(signal.SIGTERM)
        print("The demo under its load")
        demo = Demo(stack, scratch, "load")
        expressions = answered(demo)
        page = stack.enter_context(browser(scratch))
        consoles(demo, page, pictures)
        never_negative(demo, expressions)
        demo.stop()
        fails_to_start(scratch)
    print(f"All expressions are answered. Pictures are in {pictures}")


if __name__ == "__main__":
    main()
