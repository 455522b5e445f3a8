"""The live page in a real browser, driven as a person would, against the quickstart and against a stand-in for it.

What the page shows must be what was sent. Pictures are kept in the folder that is given.
"""

import contextlib
import http.client
import http.server
import json
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections import defaultdict

from acceptance import start_quickstart
from browser import browser
from processes import HOST, check, end_after, eventually

SENT = {"/": 30, "/hello/{name}": 60, "/flaky": 50, "/slow": 2, "unmatched": 20}
SENT_AFTER_RESTART = {"/": 7, "/flaky": 10}
PATHS = {"/hello/{name}": "/hello/guest", "unmatched": "/nowhere"}

# The table as the page shows it: of each route the texts by the titles of their columns.
TABLE = """(() => {
    const titles = [...document.querySelectorAll("thead th")].map((th) => th.textContent);
    const rows = [...document.querySelectorAll("tbody tr:not(.empty)")];
    return rows.map((row) => Object.fromEntries(titles.map((title, index) => [title, row.children[index].textContent])));
})()"""
# Whether a plot has a line with several points that leaves the bottom.
IS_DRAWN = """((place) => {
    const line = place?.querySelector("path.third, path.line");
    return Boolean(line) && line.getAttribute("d").split("L").length > 2 && line.getBBox().y < 99;
})"""
STATE = "document.getElementById('state').textContent"


class StandIn(http.server.ThreadingHTTPServer):
    """Serves the page of the quickstart below a prefix, as a proxy would, and metrics of our choice."""

    PREFIX = "/some/prefix"

    def __init__(self, quickstart):
        super().__init__((HOST, 0), Answer)
        self.quickstart = quickstart
        self.metrics = lambda headers: (200, "text/plain; version=0.0.4", "")
        self.settings = None
        # What `live_scope_for` adds to the policy of a page whose metrics have another origin.
        self.allowed = ""

    def origin(self):
        return f"http://{HOST}:{self.server_address[1]}"


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.removeprefix(StandIn.PREFIX)
        headers = {}
        if path == "/live":
            connection = http.client.HTTPConnection(HOST, self.server.quickstart.port, timeout=10)
            connection.request("GET", path)
            response = connection.getresponse()
            status, headers, body = response.status, dict(response.getheaders()), response.read()
            connection.close()
            headers.pop("content-length", None)
            for name in headers:
                if name.lower() == "content-security-policy":
                    headers[name] = headers[name].replace("connect-src 'self'", f"connect-src 'self'{self.server.allowed}")
            if self.server.settings:
                settings = b'id="settings">' + json.dumps(self.server.settings).encode()
                body = re.sub(rb'id="settings">\{[^<]*', lambda _: settings, body, count=1)
        elif path == "/metrics" and path != self.path:
            status, headers["Content-Type"], body = self.server.metrics(self.headers)
            body = body.encode()
        else:
            status, body = 404, b""
        headers["Access-Control-Allow-Origin"] = "*"
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_OPTIONS(self):
        """A browser asks before it sends a token to another origin."""
        self.send_response(204)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "authorization")
        self.end_headers()

    def log_message(self, *_):
        pass


def send(port, path, count):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    for _ in range(count):
        connection.request("GET", PATHS.get(path, path))
        connection.getresponse().read()
    connection.close()


def table(page):
    return {row["Route"].split(" ", 1)[1]: row for row in page.value(TABLE)}


def shows(page, sent):
    """Waits until the page has the requests of each route that were sent."""

    def attempt():
        rows = table(page)
        counts = {path: rows.get(path, {}).get("Requests") for path in sent}
        return rows if counts == {path: f"{count:,}" for path, count in sent.items()} else None

    return eventually(f"the page shows {sent}", 20, attempt)


def seconds(text):
    number, unit = re.fullmatch(r"([\d.,]+) (m?s)", text).groups()
    return float(number) / (1000 if unit == "ms" else 1)


def quantile(q, buckets):
    """As Prometheus has it, of cumulated buckets by their upper bounds."""
    bounds = sorted(buckets)
    rank = q * buckets[bounds[-1]]
    lower, below = 0, 0
    for bound in bounds:
        if buckets[bound] >= rank:
            return lower + (bound - lower) * (rank - below) / (buckets[bound] - below)
        lower, below = bound, buckets[bound]


def check_percentiles(quickstart, rows):
    buckets = defaultdict(dict)
    for labels, value in quickstart.scrape()["request_latency_bucket"]:
        buckets[labels["path"]][float(labels["le"])] = value
    for path in SENT:
        for name, q in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)]:
            expected, shown = quantile(q, buckets[path]), seconds(rows[path][name])
            check(abs(shown - expected) <= 0.06 * expected, f"{name} of {path} is {expected} s, the page has {shown} s")


def check_plots(page):
    for tile in ["requests", "errors", "latency", "running", "connections"]:
        page.eventually(f"a plot of {tile}", f"{IS_DRAWN}(document.querySelector('#{tile} .plot'))")
    # Rows have theirs when they are in sight.
    page.value("document.querySelector('tbody').scrollIntoView()")
    for route in ["/", "/flaky"]:
        page.eventually(
            f"a plot of {route}",
            f"{IS_DRAWN}([...document.querySelectorAll('tbody tr')]"
            f".find((row) => row.firstChild.title === '{route}')?.querySelector('.plotted div'))",
        )


def header(title):
    return "document.evaluate(`//th[.='%s']`, document).iterateNext()" % title


def sort(page):
    def numbers():
        return [int(row["Requests"].replace(",", "")) for row in page.value(TABLE)]

    # The mouse.
    page.value(f"{header('Requests')}.id = 'by-requests'; 0")
    for order, is_reverse in [("descending", True), ("ascending", False)]:
        page.click("#by-requests button")
        found = page.value(f"{header('Requests')}.getAttribute('aria-sort')")
        check(found == order, f"sorted by requests, the header says {found}, not {order}")
        check(numbers() == sorted(numbers(), reverse=is_reverse), f"{order} by requests is {numbers()}")
    # The keyboard: the column before it has the focus after one step back.
    page.value(f"{header('Per second')}.querySelector('button').focus()")
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Tab", code="Tab", windowsVirtualKeyCode=9, modifiers=8)
    page.call("Input.dispatchKeyEvent", type="keyUp", key="Tab", code="Tab", windowsVirtualKeyCode=9, modifiers=8)
    focused = page.value("document.activeElement.textContent")
    check(focused == "Requests", f"shift and tab from `Per second` lead to {focused!r}")
    page.press("Enter", 13, "\r")
    check(page.value(f"{header('Requests')}.getAttribute('aria-sort')") == "descending", "Enter does not sort")
    others = page.value("document.querySelectorAll('th[aria-sort]').length")
    check(others == 1, f"{others} columns say that they are sorted by")
    print("  sorts by a column with the mouse and with the keyboard")

    page.click("#filter")
    page.type("flak")
    check(list(table(page)) == ["/flaky"], f"the filter leaves {list(table(page))}")
    for _ in range(4):
        page.press("Backspace", 8)
    check(len(table(page)) > 4, "the filter stays")
    print("  filters routes")


def run_slow(quickstart, page):
    """Has requests in progress until the page has seen them."""
    is_over = threading.Event()

    def client():
        while not is_over.is_set():
            send(quickstart.port, "/slow", 1)

    clients = [threading.Thread(target=client) for _ in range(3)]
    for thread in clients:
        thread.start()

    def attempt():
        row = table(page)["/slow"]
        return row if row["In progress"] in {"1", "2", "3"} and row["Oldest"] != "–" else None

    row = eventually("/slow in progress", 20, attempt)
    listed = page.value("document.querySelector('#oldest li')?.textContent")
    is_over.set()
    for thread in clients:
        thread.join()
    check(listed and listed.startswith("GET /slow"), f"the oldest request is {listed!r}")
    print(f"  {row['In progress']} × /slow in progress, the oldest for {row['Oldest']}")


def watch(stack, scratch, page, pictures):
    """The page of the quickstart: numbers, plots, sorting, a restart."""
    quickstart, server, _ = start_quickstart(stack, scratch)
    page.size(1280, 900)
    origin = f"http://{HOST}:{quickstart.port}"
    page.open(f"{origin}/live")
    page.eventually("the page reads", f"{STATE} === 'Live'")
    # What is sent from now on is the growth that the page sees.
    page.eventually("a second scrape", "document.querySelector('#requests b').textContent !== '–'")
    for path, count in SENT.items():
        send(quickstart.port, path, count)
    rows = shows(page, SENT)
    for path, row in rows.items():
        print("  " + "  ".join(f"{name} {text}" for name, text in row.items() if text))
    check(rows["/flaky"]["Errors"] == "20 %", f"of /flaky 20 % fail, the page has {rows['/flaky']['Errors']}")
    check(rows["/"]["Errors"] == "0 %", f"/ never fails, the page has {rows['/']['Errors']}")
    note = page.value("document.querySelector('#errors .note').textContent")
    check(note.startswith("10 of "), f"10 requests failed in the last minute, the page says {note!r}")
    check_percentiles(quickstart, rows)
    check_plots(page)
    workers = page.value("document.querySelectorAll('#workers li').length")
    check(workers >= 1, "no worker is shown")
    items = "[...document.querySelectorAll('#objectives li')].map((li) => [...li.children].map((part) => part.textContent))"
    objectives = dict(page.value(items))
    check(objectives.get("/slow") == "0.00 % of 99 %", f"/slow never meets its objective, the page has {objectives}")
    check(len(objectives) == 2, f"there are two objectives, the page has {objectives}")
    failing = page.value("[...document.querySelectorAll('#objectives li.failing span')].map((path) => path.textContent)")
    check("/slow" in failing, f"/slow fails its objective, the page marks {failing}")
    sort(page)
    run_slow(quickstart, page)
    for width, height in [(1280, 900), (390, 844)]:
        for scheme in ["light", "dark"]:
            page.look(width, height, scheme, pictures / f"live-{width}-{scheme}.png")
            wide = page.value("document.documentElement.scrollWidth")
            check(wide <= width, f"the page is {wide} pixels wide on {width}")
    check(not page.complaints, f"the browser complains: {page.complaints}")

    server.send_signal(signal.SIGINT)
    check(server.wait(10) == 0, "the quickstart ended badly")
    page.eventually("the page says that nobody answers", f"{STATE}.startsWith('No metrics since ')")
    print("  " + page.value(STATE))
    page.look(1280, 900, "light", pictures / "live-failed.png")
    start_quickstart(stack, scratch, quickstart.port)
    page.eventually("the page is back", f"{STATE}.startsWith('Live')")
    for path, count in SENT_AFTER_RESTART.items():
        send(quickstart.port, path, count)
    rows = shows(page, SENT_AFTER_RESTART)
    print("  " + page.value(STATE))
    check("restarted at" in page.value(STATE), "the page does not say that the service restarted")
    check("-" not in "".join(row["Per second"] for row in rows.values()), f"a rate is negative: {rows}")
    # Chromium itself says that a connection was refused.
    refused = [text for text in page.complaints if "ERR_CONNECTION_REFUSED" in text and f"{origin}/metrics" in text]
    check(page.complaints == refused, f"the browser complains: {page.complaints}")
    asked = set(page.requested)
    check(asked == {f"{origin}/live", f"{origin}/metrics"}, f"the page asked for {asked}")
    print(f"  {len(page.requested)} requests, all of them for /live and /metrics")
    page.requested.clear()
    page.complaints.clear()
    return quickstart


HOSTILE = '</script><img src=x onerror="document.title=1">\\\n{le="1"} 3 # EOF'
ROUTES = 500


def many_routes(scrapes):
    """A scrape of many routes, one of them with a hostile name; counters grow by their number each time."""
    lines = ["# TYPE request_count counter"]
    paths = [f"/route/{number}/{{id}}" for number in range(1, ROUTES)] + [HOSTILE]
    escaped = [path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for path in paths]
    for number, path in enumerate(escaped):
        count = 1000 + scrapes * (number % 50)
        lines.append(f'request_count_total{{method="GET",path="{path}",status="200"}} {count} # {{trace_id="{path}"}} 1.0 1.5')
    lines.append("# TYPE request_latency histogram")
    for number, path in enumerate(escaped):
        count = 1000 + scrapes * (number % 50)
        for bound in ["0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1.0", "2.5", "5.0", "10.0", "+Inf"]:
            lines.append(f'request_latency_bucket{{le="{bound}",method="GET",path="{path}"}} {count if bound != "0.005" else 0}')
        lines.append(f'request_latency_count{{method="GET",path="{path}"}} {count}')
    lines += ["a line that is broken", 'request_count_total{method="GET',  "# EOF", ""]
    return "\n".join(lines)


def stand_in(stack, page, quickstart, pictures):
    """Below a prefix, with many routes, hostile names, answers that are none, and behind a token."""
    server = StandIn(quickstart)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown)
    openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    scrapes = 0

    def good(_):
        nonlocal scrapes
        scrapes += 1
        return 200, openmetrics, many_routes(scrapes)

    server.metrics = good
    page.size(1280, 900)
    page.open(server.origin() + StandIn.PREFIX + "/live")
    count = "document.querySelectorAll('tbody tr').length"
    page.eventually(f"{ROUTES} routes", f"{count} === {ROUTES}")
    page.eventually("plots of the first", "document.querySelectorAll('tbody svg').length > 3")
    page.call("Performance.enable")
    busy = lambda: {m["name"]: m["value"] for m in page.call("Performance.getMetrics")["metrics"]}["TaskDuration"]
    before, scrapes_before = busy(), scrapes
    page.wait(8)
    per_scrape = (busy() - before) / max(1, scrapes - scrapes_before)
    plots = page.value("document.querySelectorAll('tbody svg').length")
    check(plots < 60, f"{plots} of {ROUTES} routes have plots, and few are in sight")
    print(f"  {ROUTES} routes: {plots} plots, and {1000 * per_scrape:.0f} ms of work a scrape")
    page.value("document.querySelector('tbody tr:last-child').scrollIntoView()")
    page.eventually("a plot of the last", "Boolean(document.querySelector('tbody tr:last-child svg'))")
    hostile = page.value(
        "[...document.querySelectorAll('tbody td:first-child')].filter((td) => td.title.includes('onerror'))"
        ".map((td) => [td.title, td.lastChild.textContent, td.children.length])"
    )
    check(hostile == [[HOSTILE, HOSTILE, 1]], f"a hostile name is shown as {hostile}")
    check(page.value("document.images.length + document.querySelectorAll('script').length") == 2, "a label became markup")

    for answer, reason in [
        ((503, "text/plain", "busy"), "503"),
        ((200, "text/html", "<p>Log in"), "metrics in the format text/html"),
        ((200, openmetrics, many_routes(1).removesuffix("# EOF\n")), "metrics that break off"),
    ]:
        server.metrics = lambda _, answer=answer: answer
        page.eventually(reason, f"{STATE}.startsWith('No metrics since ') && {STATE}.includes({json.dumps(reason)})")
        print("  " + page.value(STATE))

    def guarded(headers):
        return good(headers) if headers["Authorization"] == "Bearer secret" else (401, "text/plain", "")

    server.metrics = guarded
    page.eventually("the page asks for a token", "!document.getElementById('access').hidden")
    page.look(1280, 900, "light", pictures / "live-token.png")
    page.click("#token")
    page.type("secret")
    page.press("Enter", 13, "\r")
    page.eventually("the page is back", f"{STATE}.startsWith('Live')")
    check(page.value("document.getElementById('access').hidden"), "the page still asks for a token")
    print("  asks for a token, and reads with it")
    renamed(server, page)
    others = [url for url in page.requested if not url.startswith(server.origin() + StandIn.PREFIX)]
    check(not others, f"the page asked for {others}")
    # Chromium itself says that an answer was none.
    unexpected = [text for text in page.complaints if "Failed to load resource" not in text]
    check(not unexpected, f"the browser complains: {unexpected}")
    page.requested.clear()
    page.complaints.clear()
    elsewhere(stack, page, server, quickstart)


def elsewhere(stack, page, server, quickstart):
    """Metrics on another port, which wants a token."""
    admin = StandIn(quickstart)
    thread = threading.Thread(target=admin.serve_forever)
    thread.start()
    stack.callback(thread.join)
    stack.callback(admin.shutdown)

    def guarded(headers):
        if headers["Authorization"] != "Bearer secret":
            return 401, "text/plain", ""
        return 200, "text/plain; version=0.0.4", RENAMED_SCRAPE

    admin.metrics = guarded
    address = f"{admin.origin()}{StandIn.PREFIX}/metrics"
    server.settings = RENAMED | {"metrics": address}
    page.open(server.origin() + StandIn.PREFIX + "/live")
    page.eventually("the policy forbids it", f"{STATE}.startsWith('No metrics')")
    check(any(address in text and "Content Security Policy" in text for text in page.complaints), "the policy allows any port")
    page.complaints.clear()
    server.allowed = f" {admin.origin()}"
    page.open(server.origin() + StandIn.PREFIX + "/live")
    page.eventually("the page asks for a token", "!document.getElementById('access').hidden")
    page.click("#token")
    page.type("secret")
    page.press("Enter", 13, "\r")
    page.eventually("metrics of another port", "document.querySelector('tbody').textContent.startsWith('/pay')")
    print("  reads the metrics of another port, with a token, as far as the policy names it")
    origins = {url.split("/some/")[0] for url in page.requested}
    check(origins <= {server.origin(), admin.origin()}, f"the page asked for {origins}")


RENAMED = {
    "metrics": "./metrics",
    "monitors": [
        {
            "requests": {"name": "shop_hits", "labels": {"path": "endpoint", "status_class": "class"}},
            "latency": {"name": "shop_time", "labels": {"path": "endpoint"}},
        },
        {
            "latency": {
                "name": "http_server_request_duration_seconds",
                "labels": {"method": "http_request_method", "path": "http_route", "status": "http_response_status_code"},
            },
            "in_progress": {"name": "http_server_active_requests", "labels": {"method": "http_request_method"}},
        },
    ],
}
RENAMED_SCRAPE = """# TYPE shop_hits_total counter
shop_hits_total{endpoint="/pay",tenant="a",class="2xx"} 5
shop_hits_total{endpoint="/pay",tenant="b",class="5xx"} 2
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_count{http_request_method="GET",http_route="/pay",http_response_status_code="200"} 9
http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="404"} 4
# TYPE http_server_active_requests gauge
http_server_active_requests{http_request_method="GET"} 3
"""


def renamed(server, page):
    """Names that the page gets to know later, and two monitors of which it shows one."""
    server.metrics = lambda _: (200, "text/plain; version=0.0.4", RENAMED_SCRAPE)
    page.open(server.origin() + StandIn.PREFIX + "/live")
    page.eventually("no route", "document.querySelector('tbody').textContent === 'No request has been measured yet.'")
    server.settings = RENAMED
    page.eventually("the new names", "document.querySelector('tbody').textContent.startsWith('/pay')")
    rows = page.value(TABLE)
    check([(row["Route"], row["Requests"]) for row in rows] == [("/pay", "7")], f"of renamed families the page has {rows}")
    page.value("document.getElementById('monitor').focus()")
    page.press("ArrowDown", 40)
    page.eventually("the other monitor", "document.querySelectorAll('tbody tr').length === 2")
    rows = [(row["Route"], row["Requests"], row.get("In progress")) for row in page.value(TABLE)]
    check(sorted(rows) == [("GET /pay", "9", None), ("GET no route", "4", None)], f"of the other monitor it has {rows}")
    page.eventually("requests in progress", "document.querySelector('#running b').textContent === '3'")
    print("  finds renamed families without being loaded again, and shows one of two monitors")


def main():
    end_after(240)
    pictures = pathlib.Path(sys.argv[1])
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        page = stack.enter_context(browser(scratch))
        print(page.call("Browser.getVersion")["product"])
        print("The quickstart")
        quickstart = watch(stack, scratch, page, pictures)
        print("A stand-in, below a prefix")
        stand_in(stack, page, quickstart, pictures)
    print(f"The page shows what was sent. Pictures are in {pictures}")


if __name__ == "__main__":
    main()
