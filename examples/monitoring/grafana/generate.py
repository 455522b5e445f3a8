"""Writes the dashboards beside this file. Names of families and labels are constant variables of each dashboard, hidden at
its top: after a rename set the constant there (Settings, Variables), or here.

    python3 examples/monitoring/grafana/generate.py
"""

import json
import pathlib

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# The labels and the families as `DefaultMonitor` has them. `prefix` is that of the whole registry, such as `shop_`.
PREFIX = {"prefix": ""}
LABELS = {"method_label": "method", "path_label": "path", "status_label": "status"}
REQUESTS = {
    "requests": "request_count",
    "latency": "request_latency",
    "in_progress": "requests_in_progress",
    "peak": "requests_in_progress_peak",
    "oldest": "oldest_request_in_progress_seconds",
    "time_on_worker": "request_time_on_worker_seconds",
    "longest_poll": "request_longest_poll_seconds",
    "objective_met": "request_objective_met",
    "objective_missed": "request_objective_missed",
    "objective_ratio": "request_objective_ratio",
    "objective_seconds": "request_objective_seconds",
}
# Scrapes and the live page are requests too.
EXCLUDED = {"excluded": "/metrics|/live"}
OTEL = {
    "duration": "http_server_request_duration_seconds",
    "active": "http_server_active_requests",
    "request_body": "http_server_request_body_size_bytes",
    "response_body": "http_server_response_body_size_bytes",
    "method_label": "http_request_method",
    "path_label": "http_route",
    "status_label": "http_response_status_code",
}

INSTANCE = 'job=~"$job", instance=~"$instance"'
ROUTE = f'{INSTANCE}, $method_label=~"$method", $path_label=~"$path", $path_label!~"$excluded"'
# Objectives and expected routes have no method.
PATH = f'{INSTANCE}, $path_label=~"$path"'


def constant(name, value):
    option = {"text": value, "value": value, "selected": True}
    return {"name": name, "type": "constant", "hide": 2, "skipUrlSync": True, "query": value, "current": option, "options": [option]}


def values(name, label, query, all_value=".*"):
    """A variable with the values of a label."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "multi": True,
        "allValue": all_value,
        "current": {"text": "All", "value": "$__all"},
    }


def variables(constants, metric, has_routes=True):
    listed = [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
    listed += [constant(name, value) for name, value in constants.items()]
    listed += [
        values("job", "Job", f"label_values({metric}, job)"),
        values("instance", "Instance", f'label_values({metric}{{job=~"$job"}}, instance)'),
    ]
    if has_routes:
        listed += [
            values("method", "Method", f"label_values({metric}{{{INSTANCE}}}, $method_label)"),
            values("path", "Route", f"label_values({metric}{{{INSTANCE}}}, $path_label)"),
        ]
    return listed


def target(number, expression, legend, **more):
    return {"refId": "ABCDEFG"[number], "datasource": DATASOURCE, "expr": expression, "legendFormat": legend, **more}


def panel(kind, title, description, width, height, targets, defaults, options, **more):
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"h": height, "w": width, "x": 0, "y": 0},
        "fieldConfig": {"defaults": defaults, "overrides": more.pop("overrides", [])},
        "options": options,
        "targets": targets,
        **more,
    }


def stat(title, description, expression, unit="short", bad=None, width=4):
    """One number, which is red from `bad` on."""
    steps = [{"color": "green", "value": None}] + ([] if bad is None else [{"color": "red", "value": bad}])
    options = {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "auto",
        "wideLayout": True,
    }
    defaults = {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}}
    return panel("stat", title, description, width, 4, [target(0, expression, "", range=True)], defaults, options)


def plot(title, description, lines, unit="short", width=12, is_stacked=False, **defaults):
    """Lines over time: pairs of an expression and a legend."""
    targets = [target(number, expression, legend, range=True) for number, (expression, legend) in enumerate(lines)]
    custom = {"fillOpacity": 30 if is_stacked else 0, "stacking": {"mode": "normal" if is_stacked else "none", "group": "A"}}
    options = {
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return panel("timeseries", title, description, width, 8, targets, {"unit": unit, "custom": custom, **defaults}, options)


def heatmap(title, description, expression, width=12):
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {"exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scale": "exponential", "scheme": "Oranges", "steps": 64},
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "yHistogram": False, "showColorScale": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": "s"},
    }
    targets = [target(0, expression, "{{le}}", range=True, format="heatmap")]
    return panel("heatmap", title, description, width, 8, targets, {}, options)


def table(title, description, columns, sort, width=12):
    """Rows by label, with a column for each expression: its title, its unit and the expression."""
    targets, overrides = [], []
    for number, (name, unit, expression) in enumerate(columns):
        targets.append(target(number, expression, "", instant=True, range=False, format="table"))
        value = f"Value #{targets[-1]['refId']}" if len(columns) > 1 else "Value"
        properties = [{"id": "displayName", "value": name}, {"id": "unit", "value": unit}]
        overrides.append({"matcher": {"id": "byName", "options": value}, "properties": properties})
    transformations = [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": {"Time": True}, "indexByName": {}, "renameByName": {}}},
    ]
    options = {"cellHeight": "sm", "frameIndex": 0, "showHeader": True, "sortBy": [{"desc": True, "displayName": sort}]}
    return panel("table", title, description, width, 8, targets, {}, options, overrides=overrides, transformations=transformations)


def row(title, panels):
    return {"type": "row", "title": title, "collapsed": False, "panels": []}, panels


def dashboard(uid, title, constants, metric, rows, has_routes=True):
    laid_out, y = [], 0
    for heading, panels in rows:
        laid_out.append(heading | {"gridPos": {"h": 1, "w": 24, "x": 0, "y": y}})
        y += 1
        x = height = 0
        for one in panels:
            if x + one["gridPos"]["w"] > 24:
                x, y, height = 0, y + height, 0
            one["gridPos"] |= {"x": x, "y": y}
            x += one["gridPos"]["w"]
            height = max(height, one["gridPos"]["h"])
            laid_out.append(one)
        y += height
    return {
        "uid": uid,
        "title": title,
        "tags": ["hr-prometheus"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [{
            "asDropdown": True, "icon": "external link", "includeVars": True, "keepTime": True, "tags": ["hr-prometheus"],
            "targetBlank": False, "title": "Other dashboards", "tooltip": "", "type": "dashboards", "url": "",
        }],
        "templating": {"list": variables(constants, metric, has_routes)},
        "panels": [{"id": number, **one} for number, one in enumerate(laid_out, 1)],
    }


def rate(family, labels=ROUTE, window="$__rate_interval"):
    return f"rate(${{prefix}}{family}{{{labels}}}[{window}])"


def quantile(q, family, by="$method_label, $path_label", labels=ROUTE, window="$__rate_interval"):
    by = f"{by}, le" if by else "le"
    return f"histogram_quantile({q}, sum by ({by}) ({rate(family + '_bucket', labels, window)}))"


def part(of, whole, by=""):
    """How much of the whole it is; 0 where there is none of it."""
    by = f" by ({by})" if by else ""
    return f"(sum{by} ({of}) or sum{by} ({whole}) * 0) / sum{by} ({whole})"


def or_zero(expression):
    """For what exists only after something went wrong."""
    return f"{expression} or vector(0)"


COUNT, LATENCY = "${requests}_total", "${latency}"
FAILED = f'{ROUTE}, $status_label=~"5.."'
BY_ROUTE, ROUTE_LEGEND = "$method_label, $path_label", "{{$method_label}} {{$path_label}}"
MISSED, MET = "${objective_missed}_total", "${objective_met}_total"
BUDGET = "(1 - max by ($path_label) (${prefix}${objective_ratio}{" + PATH + "}))"


def missed(window):
    """The part of the requests with an objective that missed it, by path."""
    met, no = (f"sum by ($path_label) ({rate(family, PATH, window)})" for family in (MET, MISSED))
    return f"{no} / ({met} + {no})"


def requests():
    in_progress = f"${{prefix}}${{in_progress}}{{{ROUTE}}}"
    rows = [
        row("All requests", [
            stat("Requests", "Requests per second that ended.", f"sum({rate(COUNT)})", "reqps"),
            stat("Failing", "The part of all requests with status 500 or more.", part(rate(COUNT, FAILED), rate(COUNT)), "percentunit", 0.05),
            stat("Median", "Half of the requests take less.", quantile(0.5, LATENCY, ""), "s"),
            stat("p99", "99 of 100 requests take less.", quantile(0.99, LATENCY, ""), "s", 1),
            stat("In progress", "Requests that have arrived and not yet ended.", f"sum({in_progress})"),
            stat("Replicas", "Instances that Prometheus could scrape.", f"sum(up{{{INSTANCE}}})"),
        ]),
        row("By route", [
            plot("Requests", "Requests per second.", [(f"sum by ({BY_ROUTE}) ({rate(COUNT)})", ROUTE_LEGEND)], "reqps"),
            plot("Failing", "The part of the requests with status 500 or more.", [(part(rate(COUNT, FAILED), rate(COUNT), BY_ROUTE), ROUTE_LEGEND)], "percentunit", min=0),
            plot("Latency, p99", "99 of 100 requests take less.", [(quantile(0.99, LATENCY), ROUTE_LEGEND)], "s"),
            plot("Latency, median", "Half of the requests take less.", [(quantile(0.5, LATENCY), ROUTE_LEGEND)], "s"),
            plot("By status", "Requests per second.", [(f"sum by ($status_label) ({rate(COUNT)})", "{{$status_label}}")], "reqps", is_stacked=True),
            heatmap("Latency", "How many requests took how long.", f"sum by (le) (increase(${{prefix}}{LATENCY}_bucket{{{ROUTE}}}[$__rate_interval]))"),
        ]),
        row("Slowest and failing routes, over the chosen time", [
            table("Slowest routes", "A route with few requests has a rough p99.", [
                ("p99", "s", f"topk(20, {quantile(0.99, LATENCY, window='$__range')} > 0)"),
            ], "p99"),
            table("Failing routes", "Responses with status 500 or more.", [
                ("Failed", "short", f"topk(20, sum by ({BY_ROUTE}, $status_label) (increase(${{prefix}}{COUNT}{{{FAILED}}}[$__range])) > 0)"),
            ], "Failed"),
        ]),
        row("In progress", [
            plot("In progress", "When Prometheus looked.", [(f"sum by ({BY_ROUTE}) ({in_progress})", ROUTE_LEGEND)], width=8),
            plot("Peak", "The most at the same moment in the last minute. Needs `peak_in_progress`.", [(f"sum by ({BY_ROUTE}) (${{prefix}}${{peak}}{{{ROUTE}}})", ROUTE_LEGEND)], width=8),
            plot("Oldest", "How long the oldest request has run. Needs `oldest_in_progress`.", [(f"max by ({BY_ROUTE}) (${{prefix}}${{oldest}}{{{ROUTE}}})", ROUTE_LEGEND)], "s", width=8),
        ]),
        row("Time on the worker", [
            plot("Share of the workers", "Seconds of worker time that a route takes each second: 1 is one worker, all the time. Needs `time_on_worker`.", [(f"sum by ({BY_ROUTE}) ({rate('${time_on_worker}_sum')})", ROUTE_LEGEND)], is_stacked=True, width=8),
            plot("Time on the worker, p99", "What one request takes of its worker, in all. Needs `time_on_worker`.", [(quantile(0.99, "${time_on_worker}"), ROUTE_LEGEND)], "s", width=8),
            plot("Longest poll, p99", "For how long a request holds its worker at a time, while all others on it wait. Needs `longest_poll`.", [(quantile(0.99, "${longest_poll}"), ROUTE_LEGEND)], "s", width=8),
        ]),
        row("Objectives (need `objective`)", [
            plot("Budget used", "How fast the error budget is used up: at 1 it lasts exactly as long as the period of the objective.", [(f"({missed('1h')}) / {BUDGET}", "{{$path_label}}")], width=8, min=0),
            plot("Met", "The part of the requests that were fast enough and did not fail, beside what was promised.", [(f"1 - ({missed('$__rate_interval')})", "{{$path_label}}"), (f"max by ($path_label) (${{prefix}}${{objective_ratio}}{{{PATH}}})", "{{$path_label}} promised")], "percentunit", width=8),
            table("Over the chosen time", "How much of the error budget is left: below 0 the objective was missed.", [
                ("Met", "percentunit", f"1 - ({missed('$__range')})"),
                ("Promised", "percentunit", f"max by ($path_label) (${{prefix}}${{objective_ratio}}{{{PATH}}})"),
                ("Within", "s", f"max by ($path_label) (${{prefix}}${{objective_seconds}}{{{PATH}}})"),
                ("Budget left", "percentunit", f"1 - ({missed('$__range')}) / {BUDGET}"),
            ], "Promised", width=8),
        ]),
        row("Cardinality and omissions", [
            plot("Series", "Time series that Prometheus gets from each replica.", [(f"scrape_samples_scraped{{{INSTANCE}}}", "{{instance}}")], width=8),
            stat("Over a limit", "Requests in an hour whose label is `_OTHER` because its limit was reached.", or_zero(f"sum(increase(${{prefix}}hr_prometheus_cardinality_limit_exceeded_total{{{INSTANCE}}}[1h]))"), bad=1),
            stat("Families omitted", "Invalid families that are not in the scrape. The log of the service names them.", or_zero(f"sum(${{prefix}}hr_prometheus_scrape_families_omitted{{{INSTANCE}}})"), bad=1),
            stat("Series omitted", "Invalid series that are not in the scrape. The log of the service names them.", or_zero(f"sum(${{prefix}}hr_prometheus_scrape_series_omitted{{{INSTANCE}}})"), bad=1),
            stat("Never requested", "Routes of the application that no replica has had a request for. Needs `route_metrics`.", or_zero(f"count(max by ($path_label) (${{prefix}}actix_route_requested{{{PATH}}}) == 0)")),
            plot("Series by path", "Routes with the most series of requests and latencies.", [(f"topk(10, count by ($path_label) ({{__name__=~\"${{prefix}}(${{requests}}|${{latency}})_.+\", {ROUTE}}}))", "{{$path_label}}")], width=8),
            plot("Duration of scrapes", "As Prometheus measures them.", [(f"scrape_duration_seconds{{{INSTANCE}}}", "{{instance}}")], "s", width=8),
        ]),
    ]
    constants = PREFIX | REQUESTS | LABELS | EXCLUDED
    return dashboard("hr-prometheus-requests", "actix-web: requests", constants, "${prefix}${requests}_total", rows)


def workers_and_connections():
    def busy(window="$__rate_interval"):
        return rate("actix_worker_busy_seconds_total", INSTANCE, window)

    worker = f"sum by (instance, worker) ({busy()})"
    open_now = f"${{prefix}}actix_connections_open{{{INSTANCE}}}"
    worker_legend = "{{instance}} worker {{worker}}"
    closed = rate("actix_connection_requests_count", INSTANCE)
    rows = [
        row("Workers (need `worker_metrics`)", [
            stat("Busiest worker", "The part of the time that it works.", f"max({worker})", "percentunit", 0.9, width=6),
            stat("All workers", "The part of the time that they work.", f"avg({worker})", "percentunit", 0.8, width=6),
            stat("Workers", "Threads that handle requests.", f"count({worker})", width=6),
            stat("Imbalance", "The busiest worker of an instance against its average: 1 is even.", f"max(max by (instance) ({worker}) / (avg by (instance) ({worker}) > 0))", width=6),
            plot("Busy", "The part of the time that each worker works. At 1 requests wait.", [(worker, worker_legend)], "percentunit", min=0, max=1),
            plot("Waits for events", "How often a second a worker runs out of work: few and busy is saturated, few and idle is quiet.", [(f"sum by (instance, worker) ({rate('actix_worker_parks_total', INSTANCE)})", worker_legend)], "ops"),
            plot("Tasks", "Tasks of a worker that have not ended. Only under `#[tokio::main]`.", [(f"${{prefix}}actix_worker_tasks{{{INSTANCE}}}", worker_legend)]),
            plot("Queue", "Tasks that other threads have woken and the worker has not come to. Only under `#[tokio::main]`.", [(f"${{prefix}}actix_worker_queue_depth{{{INSTANCE}}}", worker_legend)]),
        ]),
        row("What takes the workers", [
            plot("Routes by worker time", "Seconds of worker time that a route takes each second. Needs `time_on_worker`.", [(f"topk(10, sum by ($path_label) ({rate('${time_on_worker}_sum', INSTANCE)}))", "{{$path_label}}")], is_stacked=True),
            table("Routes that block", "For how long a request holds its worker at a time, 99 of 100. Needs `longest_poll`.", [
                ("p99", "s", f"topk(20, {quantile(0.99, '${longest_poll}', 'instance, $path_label', INSTANCE, '$__range')} > 0)"),
            ], "p99"),
        ]),
        row("Connections (need `connection_metrics`)", [
            plot("Open", "Connections that are open.", [(f"sum by (instance, scheme) ({open_now})", "{{instance}} {{scheme}}")]),
            plot("Accepted", "Connections per second.", [(f"sum by (instance, scheme) ({rate('actix_connections_accepted_total', INSTANCE)})", "{{instance}} {{scheme}}")], "cps"),
            plot("Requests of a connection", "How often connections are used again, of those that closed; 1 is never.", [(f"sum by (instance, scheme) ({rate('actix_connection_requests_sum', INSTANCE)}) / sum by (instance, scheme) ({closed})", "{{instance}} {{scheme}}")]),
            plot("Lifetime", "From accept to close, of connections that closed.", [(quantile(0.5, "actix_connection_duration_seconds", "scheme", INSTANCE), "{{scheme}} median"), (quantile(0.99, "actix_connection_duration_seconds", "scheme", INSTANCE), "{{scheme}} p99")], "s"),
        ]),
    ]
    constants = PREFIX | {name: REQUESTS[name] for name in ("time_on_worker", "longest_poll")} | {"path_label": LABELS["path_label"]}
    metric = "${prefix}actix_worker_busy_seconds_total"
    return dashboard("hr-prometheus-workers", "actix-web: workers and connections", constants, metric, rows, has_routes=False)


def otel_and_process():
    count = "${duration}_count"
    # Requests without a route have no such label, which `.*` matches as well.
    active = f'{INSTANCE}, $method_label=~"$method"'
    process = {name: f"${{prefix}}process_{name}{{{INSTANCE}}}" for name in (
        "resident_memory_bytes", "virtual_memory_bytes", "open_fds", "max_fds", "threads", "start_time_seconds",
    )}
    rows = [
        row("Requests, by the conventions of OpenTelemetry", [
            stat("Requests", "Requests per second that ended.", f"sum({rate(count)})", "reqps"),
            stat("Failing", "The part of all requests with status 500 or more.", part(rate(count, FAILED), rate(count)), "percentunit", 0.05),
            stat("Median", "Half of the requests take less.", quantile(0.5, "${duration}", ""), "s"),
            stat("p99", "99 of 100 requests take less.", quantile(0.99, "${duration}", ""), "s", 1),
            stat("Active", "Requests in progress. Needs `active_requests`.", f"sum(${{prefix}}${{active}}{{{active}}})"),
            stat("Replicas", "Instances that Prometheus could scrape.", f"sum(up{{{INSTANCE}}})"),
            plot("Requests", "Requests per second.", [(f"sum by ({BY_ROUTE}) ({rate(count)})", ROUTE_LEGEND)], "reqps"),
            plot("Failing", "The part of the requests with status 500 or more.", [(part(rate(count, FAILED), rate(count), BY_ROUTE), ROUTE_LEGEND)], "percentunit", min=0),
            plot("Duration, p99", "99 of 100 requests take less.", [(quantile(0.99, "${duration}"), ROUTE_LEGEND)], "s"),
            heatmap("Duration", "How many requests took how long.", f"sum by (le) (increase(${{prefix}}${{duration}}_bucket{{{ROUTE}}}[$__rate_interval]))"),
            plot("Errors", "Requests per second by `error_type`.", [(f"sum by (error_type) ({rate(count, ROUTE + ', error_type!=' + chr(34) * 2)})", "{{error_type}}")], "reqps", is_stacked=True),
            plot("Active", "Requests in progress. Needs `active_requests`.", [(f"sum by ($method_label, url_scheme) (${{prefix}}${{active}}{{{active}}})", "{{$method_label}} {{url_scheme}}")]),
            plot("Request bodies", "Bytes per second. Needs `request_body_size`.", [(f"sum by ({BY_ROUTE}) ({rate('${request_body}_sum')})", ROUTE_LEGEND)], "Bps"),
            plot("Response bodies", "Bytes per second. Needs `response_body_size`.", [(f"sum by ({BY_ROUTE}) ({rate('${response_body}_sum')})", ROUTE_LEGEND)], "Bps"),
        ]),
        row("Process (needs the feature `process`)", [
            plot("Processor", "Cores in use.", [(rate("process_cpu_seconds_total", INSTANCE), "{{instance}}")], width=8),
            plot("Memory", "Resident, and the address space.", [(process["resident_memory_bytes"], "{{instance}} resident"), (process["virtual_memory_bytes"], "{{instance}} virtual")], "bytes", width=8),
            plot("File descriptors", "Open, and how many may be.", [(process["open_fds"], "{{instance}}"), (process["max_fds"], "{{instance}} limit")], width=8),
            plot("Threads", "Threads of the operating system.", [(process["threads"], "{{instance}}")], width=8),
            plot("Age", "Since the process started.", [(f"time() - {process['start_time_seconds']}", "{{instance}}")], "s", width=8),
            plot("Starts", "How often a replica started again in an hour.", [(f"changes({process['start_time_seconds']}[1h])", "{{instance}}")], width=8),
        ]),
        row("Scrapes (need `with_scrape_metrics`)", [
            plot("Scrapes", "Scrapes per second by outcome.", [(f"sum by (outcome) ({rate('hr_prometheus_scrapes_total', INSTANCE)})", "{{outcome}}")], "ops", width=8),
            plot("Render, p99", "Time to render a scrape.", [(quantile(0.99, "hr_prometheus_scrape_duration_seconds", "instance", INSTANCE), "{{instance}}")], "s", width=8),
            plot("Size", "Of the scrape before, not compressed.", [(f"${{prefix}}hr_prometheus_scrape_size_bytes{{{INSTANCE}}}", "{{instance}}")], "bytes", width=8),
        ]),
    ]
    return dashboard("hr-prometheus-otel", "actix-web: OpenTelemetry names and process", PREFIX | OTEL | EXCLUDED, "${prefix}${duration}_count", rows)


DASHBOARDS = {
    "requests.json": requests,
    "workers-and-connections.json": workers_and_connections,
    "otel-and-process.json": otel_and_process,
}


def texts():
    """What each file holds."""
    return {name: json.dumps(make(), indent=2) + "\n" for name, make in DASHBOARDS.items()}


if __name__ == "__main__":
    for name, text in texts().items():
        (pathlib.Path(__file__).parent / name).write_text(text)
