"""Families as `judged` takes them, and what a scrape has to say of them.

The rules in `fault` were found by experiment: what the strict OpenMetrics parser, promtool or Prometheus refuses, or
what Prometheus loses without a word.
"""

import math
import re

from formats import Scrape, exemplar_of, number, series

METRIC_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL_NAME = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
# The names that a family of each type claims: what OpenMetrics 1.0 lets its samples be called.
SUFFIXES = {
    "counter": ["", "_total", "_created"],
    "gauge": [""],
    "histogram": ["", "_sum", "_count", "_bucket", "_created"],
    "info": ["", "_info"],
    "unknown": [""],
}
TYPES = {
    "counter": "counter",
    "integer_counter": "counter",
    "const_counter": "counter",
    "counter_with_exemplar": "counter",
    "gauge": "gauge",
    "integer_gauge": "gauge",
    "const_gauge": "gauge",
    "histogram": "histogram",
    "histogram_with_exemplars": "histogram",
    "native_histogram": "histogram",
    "native_histogram_alone": "histogram",
    "info": "info",
    "collected_counter": "counter",
    "collected_gauge": "gauge",
    "collected_histogram": "histogram",
    "collected_info": "info",
    "collected_unknown": "unknown",
    # Encodes so many values: `count`.
    "collected_values": "gauge",
    # Has another value of the label `changes` each time it is encoded.
    "changing_histogram": "histogram",
    "failing": "gauge",
    "panicking": "gauge",
}
# Those of prometheus-client get a full stop behind their help, those of collectors do not.
COLLECTED = ("collected", "changing")
# OpenMetrics 1.0, section "Exemplars".
MOST_CHARACTERS = 128


def full_name(family):
    return "_".join(part for part in (family.get("prefix"), family["name"], family.get("unit")) if part is not None)


def has_suffix(kind):
    return {"counter": "_total", "info": "_info"}.get(kind, "")


def buckets(family, one):
    """The bounds of a histogram with the count in each alone, its sum and its count."""
    if family["kind"] in ("collected_histogram", "changing_histogram"):
        return [(float(bound), count) for bound, count in one["buckets"]], float(one["value"]), one["count"]
    bounds = [float(bound) for bound in one.get("bounds", [])]
    counts = [(bound, 0) for bound in bounds if math.isfinite(bound)] + [(math.inf, 0)]
    if family["kind"] == "native_histogram_alone":
        counts = []
    total = 0.0
    for observation in one.get("observations", []):
        value = float(observation["value"])
        total += value
        place = bucket_of(counts, value)
        if place is not None:
            counts[place] = counts[place][0], counts[place][1] + 1
    return counts, total, len(one.get("observations", []))


def bucket_of(counts, value):
    if math.isnan(value):
        return len(counts) - 1 if counts else None
    return next((place for place, (bound, _) in enumerate(counts) if bound >= value), None)


def fault(family, binary=False):
    """Why a family has no place in a scrape; `None` if it has one, for those of its series that have one.

    In the binary format a histogram may have native buckets alone.
    """
    kind = TYPES[family["kind"]]
    if family["kind"] in ("failing", "panicking"):
        return "its collector fails"
    if family["kind"] == "native_histogram_alone" and not binary:
        return "it has no text form"
    if not METRIC_NAME.fullmatch(full_name(family)):
        return "its name"
    if kind == "info" and family.get("unit"):
        return "an info with a unit"
    return None


def fault_of_series(family, one, binary=False):
    """Why a series has no place in a scrape, but for another one that is the same; `None` if it has one."""
    kind = TYPES[family["kind"]]
    names = [name for name, _ in labels_of(family, one)]
    if not all(LABEL_NAME.fullmatch(name) for name in names):
        return "the name of a label"
    if len(set(names)) < len(names):
        return "a label twice"
    if kind == "histogram" and "le" in names:
        return "a label le in a histogram"
    if family["kind"] == "collected_values" and one["count"] != 1 and not binary:
        return "any number of values but one"
    if family["kind"] == "changing_histogram" and not binary:
        return "other labels on each line"
    return {"counter": fault_of_counter, "histogram": fault_of_histogram}.get(kind, lambda *_: None)(family, one, binary)


def labels_of(family, one):
    return family.get("labels", []) + (one.get("labels") or [])


def fault_of_counter(_, one, __):
    value = float(one["value"])
    return "a counter that is negative or no number" if math.isnan(value) or value < 0 else None


def fault_of_histogram(family, one, binary):
    found, total, count = buckets(family, one)
    if math.isnan(total) or total < 0:
        return "a sum that is negative or no number"
    if binary and not found:
        return None
    bounds = [bound for bound, _ in found]
    if not bounds or bounds[-1] != math.inf:
        return "no infinite bucket"
    if any(not low < high for low, high in zip(bounds, bounds[1:])):
        return "bounds that do not rise"
    if bounds[0] < 0:
        return "a sum beside buckets below zero"
    if sum(number for _, number in found) >= 2**64:
        return "counts that wrap"
    if sum(number for _, number in found) != count:
        return "a count that differs from the buckets"
    return None


def expected(families, binary=False):
    """The scrape of the families, registered in this order: the series that are valid, under names that are not claimed
    by another family before it. Families of one name and type are one."""
    scrape, claimed, seen = Scrape(), {}, {}
    for family in families:
        kind, name = TYPES[family["kind"]], full_name(family)
        if not family["series"] or fault(family, binary):
            continue
        claims = {name + suffix for suffix in SUFFIXES[kind]}
        is_known = claimed.get(name) == (name, kind)
        if not is_known and claims & claimed.keys():
            continue
        valid = []
        for one in family["series"]:
            key = series("", labels_of(family, one))
            if not fault_of_series(family, one, binary) and key not in seen.setdefault((name, kind), set()):
                seen[name, kind].add(key)
                valid.append(one)
        if not valid:
            continue
        if not is_known:
            claimed |= dict.fromkeys(claims, (name, kind))
            text = family.get("help", "") + ("" if family["kind"].startswith(COLLECTED) else ".")
            exposed = {"info": "gauge", "unknown": "untyped"}.get(kind, kind)
            scrape.add_family(name + has_suffix(kind), exposed, text)
        for one in valid:
            labels = dict(labels_of(family, one))
            if kind == "histogram":
                expect_histogram(scrape, name, family, one, labels)
            else:
                value = 1 if kind == "info" else one["value"]
                if family["kind"] == "collected_values" and not one["count"]:
                    value = 0
                # It stands for what was added last, which is all of it.
                scrape.add(name + has_suffix(kind), labels, value, exemplar(one, value))
    return scrape


def is_omission(name):
    """Whether it says how much is omitted from a scrape."""
    return name in ("hr_prometheus_scrape_families_omitted", "hr_prometheus_scrape_series_omitted")


def expect_histogram(scrape, name, family, one, labels):
    found, total, count = buckets(family, one)
    exemplars = {}
    for observation in one.get("observations", []):
        # The last one of a bucket stays, even if it cannot be shown.
        if observation.get("exemplar"):
            place = bucket_of(found, float(observation["value"]))
            exemplars[place] = exemplar(observation, observation["value"])
    scrape.add(f"{name}_sum", labels, total)
    scrape.add(f"{name}_count", labels, count)
    cumulative = 0
    for place, (bound, number_in) in enumerate(found):
        cumulative += number_in
        scrape.add(f"{name}_bucket", labels | {"le": bound}, cumulative, exemplars.get(place))


def exemplar(one, value):
    """An exemplar that is too long or has wrong labels is left out, its sample stays."""
    found = one.get("exemplar")
    if not found:
        return None
    labels = found["labels"]
    names = [name for name, _ in labels]
    if len(set(names)) < len(names) or not all(LABEL_NAME.fullmatch(name) for name in names):
        return None
    if sum(len(name) + len(value) for name, value in labels) > MOST_CHARACTERS:
        return None
    # Prometheus refuses the whole scrape.
    if any("\0" in value for _, value in labels):
        return None
    time = found.get("time")
    return exemplar_of(labels, value, None if time is None else time / 1000)


def difference(found, wanted):
    """What two dictionaries do not share, for a person to read."""
    lines = [f"  missing {key}: {wanted[key]}" for key in wanted if key not in found]
    lines += [f"  too much {key}: {found[key]}" for key in found if key not in wanted]
    lines += [
        f"  {key} is {found[key]}, not {wanted[key]}" for key in wanted if key in found and found[key] != wanted[key]
    ]
    return "\n".join(line if len(line) < 500 else f"{line[:500]}…" for line in lines)
