"""Lets the real ones judge: serves families of every type, with labels, helps and values from hell, beside the default
monitor, and compares what each parser reads and what Prometheus and VictoriaMetrics store, sample by sample.

Needs `cargo`, `prometheus`, `promtool` and `victoria-metrics`, and the packages of `.ci/requirements.txt`. Exits with
1 and a message if anything differs. Takes about half a minute.
"""

import contextlib
import gzip
import http.client
import json
import math
import pathlib
import re
import signal
import tempfile
import time
import urllib.parse
import urllib.request

import families
import formats
import judged
from processes import HOST, check, end_after, eventually, free_port, process

# What scrapers ask for, and the format that answers it.
ACCEPTS = [
    (
        "Prometheus 2.42",
        "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        formats.OPENMETRICS,
    ),
    (
        "Prometheus 2.42 with native histograms",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
        "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        formats.PROTOBUF,
    ),
    ("VictoriaMetrics", "text/plain;version=0.0.4;q=1,*/*;q=0.1", formats.TEXT),
    ("curl", "*/*", formats.OPENMETRICS),
    ("urllib", None, formats.OPENMETRICS),
    (
        "a browser",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        formats.TEXT,
    ),
]
PARSERS = {content_type: parse for _, content_type, parse in formats.FORMATS}

HELL = [
    'quote " backslash \\ newline \n end',
    "\\n \\\\ \\",
    "carriage return \r and \r\n and NUL \0 and \u2028 \u2029 \u0085 \v \f \ufeff \U0010ffff",
    '"} 1\n# EOF\n',
    "\n# HELP evil Evil.\n# TYPE evil gauge\nevil 1\n",
    ' # {trace_id="1"} 1 ',
    "é" * 32768,
]
# Without quotes, backslashes and newlines: Prometheus 2.42 stores those of exemplars as they are escaped.
TRACE = {"labels": [["trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"], ["user", "é {} ,="]]}
# In label values, exemplars, helps and names.
CHARACTERS = [chr(code) for code in range(0x300)]
# Of these Prometheus stores the native buckets, where it knows of such; of the default monitor it is asked for.
NATIVE = ["native", "native_alone", "request_latency"]
# What promtool may remark of families that are here on purpose.
REMARKS = [
    r"\w+ metric name should not include type '(counter|gauge|histogram)'",
    r"characters_in_label_names label names should be written in 'snake_case' not 'camelCase'",
    r"character_\S+ metric names should (not contain (':'|abbreviated units)|be written in 'snake_case' not 'camelCase')",
]


def many(values):
    return [{"labels": [["n", str(n)]], "value": value} for n, value in enumerate(values)]


def described(now):
    """Every type of metric that prometheus-client has, valid or not; with exemplars of this time, in milliseconds."""
    trace = TRACE | {"time": now}
    observations = [{"value": value} for value in ["0", "0.1", "0.25", "3", "1e9"]]
    histogram = {"bounds": ["0.1", "0.5", "1"], "observations": observations}
    traced = [{"value": value, "exemplar": trace} for value in ["0.05", "0.3", "7"]]
    large = ["0", "1", "5e-324", "1e-7", "0.1", "1e16", "1.7976931348623157e308", "inf"]
    return [
        {"kind": "counter", "name": "real_counter", "help": "A counter", "series": many(large)},
        {"kind": "integer_counter", "name": "counter", "help": "A counter", "series": many(["0", str(2**64 - 1)])},
        {"kind": "integer_counter", "name": "bare", "help": "No labels", "series": [{"labels": None, "value": "7"}]},
        {"kind": "const_counter", "name": "const_counter", "help": "Constant", "series": [{"value": "0.5"}]},
        {"kind": "gauge", "name": "real_gauge", "help": "G", "series": many([*large, "-1.5", "NaN", "-inf", "-0.0"])},
        {"kind": "integer_gauge", "name": "gauge", "help": "A gauge", "series": many([str(-(2**63)), str(2**63 - 1)])},
        {"kind": "const_gauge", "name": "const_gauge", "help": "Constant", "series": [{"value": "-0.5"}]},
        {"kind": "histogram", "name": "histogram", "help": "A histogram", "series": [{"labels": None, **histogram}]},
        {
            "kind": "histogram",
            "name": "labelled_histogram",
            "help": "With labels",
            "series": [{"labels": [["n", text]], **histogram} for text in HELL],
        },
        {"kind": "histogram", "name": "no_buckets", "help": "Only +Inf", "series": [{"observations": observations}]},
        {
            "kind": "native_histogram",
            "name": "native",
            "help": "Classic and native buckets",
            "series": [{"labels": [["n", "1"]], **histogram}],
        },
        {
            "kind": "counter_with_exemplar",
            "name": "traced",
            "help": "A counter with an exemplar",
            "series": [{"labels": [["n", "1"]], "value": "3", "exemplar": trace}],
        },
        {
            "kind": "histogram_with_exemplars",
            "name": "traced_seconds",
            "help": "A histogram with exemplars",
            "series": [{"labels": [["n", "1"]], "bounds": ["0.1", "0.5"], "observations": traced}],
        },
        {"kind": "info", "name": "build", "help": "An info", "series": [{"labels": [["version", HELL[0]]]}]},
        {
            "kind": "info",
            "name": "labelled_build",
            "help": "An info",
            "labels": [["region", "eu"]],
            "series": [{"labels": [["version", "1"]]}],
        },
        {"kind": "collected_counter", "name": "collected", "help": "C.", "series": many(["1", "2.5"])},
        {"kind": "collected_gauge", "name": "collected_level", "help": "C.", "series": many(["1", "-2.5"])},
        {"kind": "collected_unknown", "name": "unknown", "help": "C.", "series": many(["1", "NaN", "-inf"])},
        {"kind": "collected_info", "name": "disk", "help": "C.", "series": [{"labels": [["n", str(n)]]} for n in (1, 2)]},
        {
            "kind": "collected_histogram",
            "name": "collected_histogram",
            "help": "C.",
            "series": [{"labels": [["n", "1"]], "buckets": [["0.5", 2], ["inf", 1]], "value": "9.5", "count": 3}],
        },
        {
            "kind": "gauge",
            "prefix": "shop",
            "name": "temperature",
            "unit": "celsius",
            "help": "With prefix, unit and constant labels",
            "labels": [["region", HELL[0]], ["zone", "b"]],
            "series": many(["21.5"]),
        },
        {"kind": "counter", "name": "bytes_sent", "unit": "bytes", "help": "With a unit", "series": many(["10"])},
        {
            "kind": "gauge",
            "name": "labels_from_hell",
            "help": "Label values from hell",
            "series": [{"labels": [["n", text], ["m", text[::-1]]], "value": "1"} for text in HELL],
        },
        {
            "kind": "gauge",
            "name": "scrapers_own_labels",
            "help": "Labels that a scraper sets",
            "series": [{"labels": [["job", "j"], ["instance", "i"], ["up", "u"]], "value": "1"}],
        },
        *(
            {"kind": "gauge", "name": f"help_from_hell_{n}", "help": text, "series": many(["1"])}
            for n, text in enumerate(HELL)
        ),
        {
            "kind": "gauge",
            "name": "characters",
            "help": "One in each label value",
            "series": [{"labels": [["n", str(n)], ["c", c]], "value": "1"} for n, c in enumerate(CHARACTERS)],
        },
        {
            "kind": "counter_with_exemplar",
            "name": "traced_characters",
            "help": "One in each exemplar",
            # Prometheus 2.42 stores those that are escaped as they are escaped.
            "series": [
                {"labels": [["n", str(n)]], "value": "1", "exemplar": {"labels": [["c", f"<{c}>"]], "time": now}}
                for n, c in enumerate(CHARACTERS)
                if c not in '"\\\n'
            ],
        },
        {
            "kind": "gauge",
            "name": "characters_in_label_names",
            "help": "Of these only the valid ones are served",
            "series": [{"labels": [[f"l{c}{n}", "1"]], "value": "1"} for n, c in enumerate(CHARACTERS)],
        },
        *(
            {"kind": "gauge", "name": f"character_in_help_{n}", "help": f"<{c}>", "series": many(["1"])}
            for n, c in enumerate(CHARACTERS)
        ),
        *(
            {"kind": "gauge", "name": f"character_{c}_in_name_{n}", "help": "h", "series": many(["1"])}
            for n, c in enumerate(CHARACTERS)
        ),
        # From here on what has to be omitted, and only that.
        {"kind": "gauge", "name": "a-b", "help": "No name", "series": many(["1"])},
        {"kind": "gauge", "name": "evil\nevil 1\n#", "help": "No name", "series": many(["1"])},
        {"kind": "gauge", "name": "no_label", "help": "h", "series": [{"labels": [["a-b", "1"]], "value": "1"}]},
        {"kind": "gauge", "name": "own_label", "help": "h", "series": [{"labels": [["__a", "1"]], "value": "1"}]},
        {"kind": "gauge", "name": "one_twice", "help": "h", "series": [{"labels": [["a", "1"], ["a", "2"]], "value": "1"}]},
        {"kind": "collected_gauge", "name": "two_alike", "help": "h", "series": many(["1"]) + many(["2"])},
        {"kind": "counter", "name": "not_counted", "help": "h", "series": many(["NaN"])},
        {"kind": "counter", "name": "falling", "help": "h", "series": many(["-1"])},
        {"kind": "gauge", "name": "real_counter_total", "help": "Taken", "series": many(["1"])},
        {"kind": "gauge", "name": "histogram_count", "help": "Taken", "series": many(["1"])},
        {"kind": "gauge", "name": "real_gauge", "help": "Taken", "series": many(["1"])},
        {"kind": "info", "name": "unit_of_info", "unit": "bytes", "help": "h", "series": [{"labels": [["a", "1"]]}]},
        {
            "kind": "histogram",
            "name": "negative",
            "help": "h",
            "series": [{"bounds": ["-1"], "observations": [{"value": "-5"}]}],
        },
        {
            "kind": "histogram",
            "name": "no_number",
            "help": "h",
            "series": [{"bounds": ["1"], "observations": [{"value": "NaN"}]}],
        },
        {"kind": "native_histogram_alone", "name": "native_alone", "help": "h", "series": [{"observations": observations}]},
        {"kind": "failing", "name": "failing", "help": "h", "series": many(["1"])},
        {"kind": "panicking", "name": "panicking", "help": "h", "series": many(["1"])},
    ]


# Requests before the comparison begins, and the labels under which they are counted.
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRAFFIC = [("/hello/world", "/hello/{name}", "200", 5), ("/nowhere", "unmatched", "404", 3)]


class Server:
    """One way to serve the scrape."""

    def __init__(self, port):
        self.port = port

    def get(self, path, **headers):
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        # Not through `request`, which adds an `Accept-Encoding`.
        connection.putrequest("GET", path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    def scrape(self, accept, **headers):
        if accept is not None:
            headers["Accept"] = accept
        response, body = self.get("/metrics", **headers)
        check(response.status == 200, f"/metrics answers {response.status}: {body[:1000]}")
        return response, body


def constant(found):
    """Without the requests of the scrapers, which are requests too, and without how much is omitted."""
    return {
        key: value
        for key, value in found.items()
        if ("path", "/metrics") not in key[1] and not families.is_omission(key[0])
    }


def is_of_monitor(key):
    return key[0].startswith("request")


def without_monitor(found):
    return {key: value for key, value in found.items() if not is_of_monitor(key)}


def without_times(exemplars):
    """Those of requests, of which nobody knows the time."""
    return {key: found[:2] for key, found in exemplars.items() if is_of_monitor(key)}


def same(what, found, wanted):
    difference = families.difference(found, wanted)
    check(not difference, f"{what}:\n{difference}")


def parsed(server, accept, **headers):
    response, body = server.scrape(accept, **headers)
    if response.headers["Content-Encoding"] == "gzip":
        body = gzip.decompress(body)
    try:
        return response, body, PARSERS[response.headers["Content-Type"]](body)
    except formats.Refused as refused:
        check(False, f"{refused}\n{body!r}")


def compare_formats(server, registered):
    """Each scraper gets its format, and in each are the samples that were recorded; returned by content type."""
    exposed, monitored, exemplars = {}, None, None
    for scraper, accept, content_type in ACCEPTS:
        wanted = families.expected(registered, binary=content_type == formats.PROTOBUF)
        response, body, found = parsed(server, accept)
        answered = response.headers["Content-Type"]
        check(answered == content_type, f"{scraper} asks for {accept} and gets {answered}, not {content_type}")
        check("Accept" in response.headers.get("Vary", ""), f"no `Vary: Accept` for {scraper}")
        samples = constant(found.samples)
        same(f"the samples that {scraper} gets", without_monitor(samples), wanted.samples)
        measured = {key: value for key, value in samples.items() if is_of_monitor(key)}
        exposed[content_type] = samples
        monitored = monitored or measured
        same(f"what {scraper} gets of the default monitor", measured, monitored)
        described_here = {name: said for name, said in found.families.items() if not is_of_monitor((name, None)) and not families.is_omission(name)}
        described_there = wanted.families
        if content_type != formats.PROTOBUF:
            described_here, described_there = map(formats.without_outer_spaces, (described_here, described_there))
        same(f"the types and helps that {scraper} gets", described_here, described_there)
        if content_type == formats.TEXT:
            for remark in formats.promtool(body):
                check(any(re.fullmatch(allowed, remark) for allowed in REMARKS), f"promtool remarks: {remark}")
            check(not found.exemplars, "an exemplar in the text format")
        else:
            same(f"the exemplars that {scraper} gets", without_monitor(found.exemplars), wanted.exemplars)
            traced = without_times(found.exemplars)
            check(traced, f"no request has left an exemplar for {scraper}")
            exemplars = exemplars or traced
            same(f"the exemplars of requests that {scraper} gets", traced, exemplars)
        print(f"  {scraper:39} {answered.split(';')[0]:35} {len(samples):4} samples, {len(body):7} bytes")
    return exposed, exemplars


def compare_compressed(servers, exposed):
    """`Compress` around the scope, the application, or both: compressed once, and the same scrape."""
    for name, server in servers.items():
        for _, accept, content_type in ACCEPTS[:3]:
            for encoding in ("identity", "gzip"):
                response, _, found = parsed(server, accept, Accept_Encoding=encoding)
                said = response.headers.get_all("Content-Encoding", [])
                compressed = encoding == "gzip" and name != "plain"
                check(said == (["gzip"] if compressed else []), f"{name} is encoded as {said} for {encoding}")
                same(f"{name}, {content_type}, {encoding}", constant(found.samples), exposed[content_type])
    print(f"  {', '.join(servers)}: the same scrape, compressed once at the most")


class Store:
    """Somebody who scrapes and stores, and answers PromQL."""

    def __init__(self, port):
        self.port = port

    def ask(self, path, **arguments):
        url = f"http://{HOST}:{self.port}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)["data"]

    def query(self, query):
        return self.ask("query", query=query)["result"]

    def samples(self, job):
        """What it has stored of a job, without what it adds itself."""
        found = {}
        for result in self.query(f'{{job="{job}",__name__!~"up|scrape_.+"}}'):
            labels = result["metric"]
            name = labels.pop("__name__")
            labels = {key: value for key, value in labels.items() if key not in ("job", "instance")}
            # What the scrape says of itself is kept under another name.
            labels = {key.removeprefix("exported_"): value for key, value in labels.items()}
            if "value" in result:
                stored = formats.number(result["value"][1])
            else:
                native = result["histogram"][1]
                check(native["buckets"], f"{name} is stored as a native histogram without buckets")
                stored = formats.number(native["count"]), formats.number(native["sum"])
            found[formats.series(name, labels)] = stored
        return constant(found)

    def wait(self, jobs):
        """Until each job was scraped twice."""

        def attempt():
            scrapes = {r["metric"]["job"]: float(r["value"][1]) for r in self.query("count_over_time(up[1m])")}
            return all(scrapes.get(job, 0) >= 2 for job in jobs) or None

        with contextlib.suppress(OSError):
            return eventually("two scrapes", 30, lambda: tolerant(attempt))


def tolerant(attempt):
    """`None` while nobody listens yet."""
    try:
        return attempt()
    except OSError:
        return None


def configuration(scratch, name, servers):
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"{HOST}:{server.port}"]}]} for job, server in servers.items()
    ]
    path = scratch / f"{name}.yml"
    # JSON is YAML.
    path.write_text(json.dumps({"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": jobs}))
    return path


def start_prometheus(stack, scratch, name, servers, features):
    port = free_port()
    arguments = [
        "prometheus",
        f"--config.file={configuration(scratch, name, servers)}",
        f"--storage.tsdb.path={scratch / name}",
        f"--web.listen-address={HOST}:{port}",
        *(f"--enable-feature={feature}" for feature in features),
    ]
    stack.enter_context(process(arguments, scratch / f"{name}.log", signal.SIGTERM))
    return Store(port)


def start_victoria_metrics(stack, scratch, servers):
    port = free_port()
    arguments = [
        "victoria-metrics",
        f"-promscrape.config={configuration(scratch, 'victoria-metrics', servers)}",
        f"-storageDataPath={scratch / 'victoria-metrics'}",
        f"-httpListenAddr={HOST}:{port}",
        # Else what was scraped is found half a minute later, and long values are cut.
        "-search.latencyOffset=0s",
        "-maxLabelValueLen=1000000",
    ]
    log = scratch / "victoria-metrics.log"
    stack.enter_context(process(arguments, log, signal.SIGINT))
    return Store(port)


def is_up(store, jobs):
    for job in jobs:
        result = store.query(f'min_over_time(up{{job="{job}"}}[1m])')
        check(result and result[0]["value"][1] == "1", f"a scrape of {job} failed: {result}")


def compare_prometheus(store, jobs, exposed, what):
    store.wait(jobs)
    is_up(store, jobs)
    for job in jobs:
        same(f"what {what} has stored of {job}", store.samples(job), exposed)
    print(f"  {what}: {len(exposed)} samples of {len(jobs)} servers stored as they were exposed")


def compare_exemplars(store, job, wanted, traced, now, what):
    """Of the exemplars with a time."""
    window = {"start": (now - 600_000) / 1000, "end": (now + 600_000) / 1000}
    found = {}
    for result in store.ask("query_exemplars", query=f'{{job="{job}"}}', **window):
        labels = {k: v for k, v in result["seriesLabels"].items() if k not in ("__name__", "job", "instance")}
        exemplar = result["exemplars"][-1]
        key = formats.series(result["seriesLabels"]["__name__"], labels)
        found[key] = formats.exemplar_of(exemplar["labels"], exemplar["value"], exemplar["timestamp"])
    same(f"the exemplars that {what} has stored", without_monitor(found), wanted)
    found_of_requests = without_times(found)
    one_of = {key: found_of_requests.get(key) for key in traced if found_of_requests.get(key) in traced[key]}
    same(f"the exemplars of requests that {what} has stored", found_of_requests, one_of)
    check(len(one_of) == len(traced), f"{what} has no exemplars of requests of {traced.keys() - one_of.keys()}")
    print(f"  {what}: {len(found)} exemplars stored as they were exposed")


def with_native(exposed, native):
    """What a Prometheus stores that knows native histograms: of those one sample, with a count and a sum."""
    kept = {}
    for (name, labels), value in exposed.items():
        base = next((base for base in native if name in (f"{base}_bucket", f"{base}_sum", f"{base}_count")), None)
        if base is None:
            kept[name, labels] = value
        elif name == f"{base}_count":
            kept[base, labels] = value, exposed[f"{base}_sum", labels]
    return kept


def exemplars_with_native(traced, native):
    """Which exemplars each series can have: where a histogram is one sample, it has one of those of its buckets."""
    possible = {}
    for (name, labels), exemplar in traced.items():
        base = name.removesuffix("_bucket")
        if base in native:
            name, labels = base, frozenset(pair for pair in labels if pair[0] != "le")
        possible.setdefault((name, labels), set()).add(exemplar)
    return possible


def as_victoria_metrics_stores(exposed):
    """It stores neither NaN nor a series with a label of 64 KiB."""

    def is_kept(labels, value):
        return not math.isnan(float(value)) and all(len(text.encode()) < 2**16 for _, text in labels)

    return {(name, labels): value for (name, labels), value in exposed.items() if is_kept(labels, value)}


def nearly(found, wanted):
    """`found`, with the numbers of `wanted` where they differ by no more than its rounding to decimals."""
    close = {
        key: wanted[key]
        for key, value in found.items()
        if key in wanted and math.isclose(float(value), float(wanted[key]), rel_tol=1e-12, abs_tol=1e-300)
    }
    return found | close


def judge(stack, scratch):
    now = int(time.time() * 1000)
    everything = described(now)
    wanted = families.expected(everything)
    log = scratch / "judged.log"
    server = judged.start(stack, "serve", log)
    servers = {name: Server(port) for name, port in judged.ask(server, log, everything).items()}
    plain = servers["plain"]

    print("The formats")
    for path, _, status, times in TRAFFIC:
        for _ in range(times):
            response, _ = plain.get(path, traceparent=TRACEPARENT)
            check(str(response.status) == status, f"{path} answers {response.status}")
    exposed, traced = compare_formats(plain, everything)
    for _, path, status, times in TRAFFIC:
        key = formats.series("request_count_total", {"method": "GET", "path": path, "status": status})
        counted = exposed[formats.OPENMETRICS].get(key)
        check(counted == formats.number(times), f"{times} requests were sent to {path}, counted are {counted}")

    print("Compression")
    compare_compressed(servers, exposed)

    print("The scrapers")
    storing = start_prometheus(stack, scratch, "prometheus", servers, ["exemplar-storage"])
    native = start_prometheus(
        stack, scratch, "prometheus-native", servers, ["exemplar-storage", "native-histograms"]
    )
    victoria = start_victoria_metrics(stack, scratch, servers)
    compare_prometheus(storing, servers, exposed[formats.OPENMETRICS], "Prometheus")
    compare_exemplars(storing, "plain", wanted.exemplars, exemplars_with_native(traced, []), now, "Prometheus")
    knows_native = with_native(exposed[formats.PROTOBUF], NATIVE)
    compare_prometheus(native, servers, knows_native, "Prometheus with native histograms")
    possible = exemplars_with_native(traced, NATIVE)
    compare_exemplars(native, "plain", wanted.exemplars, possible, now, "Prometheus with native histograms")
    victoria.wait(servers)
    is_up(victoria, servers)
    kept = as_victoria_metrics_stores(exposed[formats.TEXT])
    for job in servers:
        same(f"what VictoriaMetrics has stored of {job}", nearly(victoria.samples(job), kept), kept)
    print(f"  VictoriaMetrics: {len(kept)} samples of {len(servers)} servers stored as they were exposed")

    server.send_signal(signal.SIGINT)
    check(server.wait(10) == 0, f"`judged` ended with {server.returncode}\n{log.read_text()}")


def main():
    end_after(240)
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            judge(stack, scratch)
        except formats.Refused as refused:
            check(False, refused)
    print("Judged.")


if __name__ == "__main__":
    main()
