"""Sends families of any names, labels, helps and values, valid or not, through each format and its parser.

No parser may refuse a scrape, whatever is registered; a valid series has to come through, and of an invalid one
nothing. Prints the seed; `python .ci/properties.py SEED CASES` repeats a run.
"""

import contextlib
import pathlib
import secrets
import sys
import tempfile

import hypothesis
from hypothesis import strategies as st

import families
import formats
import judged
from processes import end_after

CASES = 10_000
# A process for each scrape takes longer than all else.
PROMTOOL_EVERY = 20

NAMES = ["x", "y", "x_total", "x_total_total", "x_count", "x_sum", "x_bucket", "x_info", "x_created", "x:y", "_", "x9"]
LABEL_NAMES = [
    *["a", "b", "c", "le", "quantile", "job", "x", "_", "__a", "__name__"],
    *["} 5", "}", "} 1\nx{b", "} 1\n# HELP y Y\n# TYPE y gauge\ny{a", "\x01exemplars", "a\n", "", '"', "="],
]
TEXTS = [
    *["", '"', "\\", "\\n", '\\"', "\n", "\r", "\r\n", "\0", "\u2028", "\u0085", "\ufeff", "\U0010ffff", " ", "}", "{", ","],
    *["\n# TYPE x counter\nx_total 1x", "\n# TYPE m gauge\nm 1\n# HELP n N"],
    *["} 1\n# EOF\n", '"} 1\nx 1\n', "\n# HELP y \n# TYPE y gauge\ny 1\n", "# EOF", ' # {a="1"} 1', "é" * 200],
]
NUMBERS = ["0", "-0.0", "1", "-1", "0.1", "NaN", "inf", "-inf", "5e-324", "1.7976931348623157e308", "1e16", "1e-7"]

text = st.one_of(st.sampled_from(TEXTS), st.text(max_size=8))


def mostly(usual, other):
    """What is invalid is rarer, so that some families are valid. (`one_of` knows no weights.)"""
    return st.integers(0, 15).flatmap(lambda n: other if n == 7 else usual)


name = mostly(st.one_of(st.sampled_from("mnopqrst"), st.sampled_from(NAMES)), st.text(max_size=3))
part = mostly(st.none(), st.one_of(st.sampled_from(["p", "seconds"]), st.text(max_size=2)))
label_name = mostly(st.sampled_from("abcdef"), st.one_of(st.sampled_from(LABEL_NAMES), st.text(max_size=3)))
real = st.one_of(st.sampled_from(NUMBERS), st.floats().map(repr))
positive = st.one_of(st.sampled_from(["0", "1", "0.1", "inf", "1e16"]), st.floats(min_value=0).map(repr))
counted = st.one_of(positive, positive, real)
label_set = st.lists(st.tuples(label_name, text).map(list), max_size=3)


def exemplars():
    # The strict parser takes a quote in the labels of an exemplar for their end, even if it is escaped.
    value = text.map(lambda value: value.replace("#", "").replace('"', ""))
    labels = st.lists(st.tuples(label_name, value).map(list), max_size=2)
    time = st.one_of(st.none(), st.integers(0, 2**40))
    return st.one_of(st.none(), st.fixed_dictionaries({"labels": labels, "time": time}))


def labelled(fields, most=3):
    """Series of one family: one without labels, or some of which no two have the same list of labels."""
    several = st.lists(
        st.fixed_dictionaries({"labels": label_set, **fields}),
        min_size=1,
        max_size=most,
        # Of those that are the same for Prometheus a `Family` gives any first.
        unique_by=lambda one: formats.series("", one["labels"] or []),
    )
    return st.one_of(several, st.lists(st.fixed_dictionaries({"labels": st.none(), **fields}), min_size=1, max_size=1))


def family(kind, series):
    return st.fixed_dictionaries(
        {
            "kind": st.just(kind),
            "name": name,
            "help": text,
            "unit": part,
            "prefix": part,
            "labels": mostly(st.just([]), label_set),
            "series": series,
        }
    )


def histogram(kind, exemplar=None):
    fields = {"value": counted} | ({"exemplar": exemplar} if exemplar is not None else {})
    observations = st.lists(st.fixed_dictionaries(fields), max_size=4)
    usual = st.just(["0.1", "0.5", "1", "2.5"])
    bounds = st.one_of(usual, st.lists(real, max_size=3))
    same = bounds.flatmap(lambda bounds: labelled({"bounds": st.just(bounds), "observations": observations}))
    return family(kind, same)


def collected_histogram(kind="collected_histogram"):
    count = mostly(st.integers(0, 1000), st.sampled_from([2**63, 2**64 - 1]))
    sorted_buckets = st.lists(st.sampled_from(["0", "0.1", "1"]), unique=True).map(lambda found: sorted(found, key=float))
    sensible = sorted_buckets.flatmap(
        lambda bounds: st.lists(count, min_size=len(bounds) + 1, max_size=len(bounds) + 1).map(
            lambda counts: {
                "buckets": [list(pair) for pair in zip([*bounds, "inf"], counts)],
                "count": sum(counts) % 2**64,
            }
        )
    )
    wild = st.fixed_dictionaries({"buckets": st.lists(st.tuples(real, count).map(list), max_size=3), "count": count})
    said = st.one_of(sensible, sensible, wild)
    fields = st.tuples(said, counted, st.one_of(st.none(), label_set)).map(
        lambda found: found[0] | {"value": found[1], "labels": found[2]}
    )
    return family(kind, st.lists(fields, min_size=1, max_size=3))


def collected(kind, value):
    one = st.fixed_dictionaries({"labels": st.one_of(st.none(), label_set), "value": value})
    return family(kind, st.lists(one, min_size=1, max_size=3))


def collected_values():
    fields = {"labels": label_set, "value": real, "count": st.integers(0, 3)}
    return family("collected_values", st.lists(st.fixed_dictionaries(fields), min_size=1, max_size=3))


def alone(fields):
    return st.lists(st.fixed_dictionaries({"labels": st.none(), **fields}), min_size=1, max_size=1)


any_family = st.one_of(
    family("counter", labelled({"value": counted})),
    family("integer_counter", labelled({"value": st.integers(0, 2**64 - 1).map(str)})),
    family("const_counter", alone({"value": counted})),
    family(
        "counter_with_exemplar",
        labelled({"value": st.integers(0, 2**64 - 1).map(str), "exemplar": exemplars()}),
    ),
    family("gauge", labelled({"value": real})),
    family("integer_gauge", labelled({"value": st.integers(-(2**63), 2**63 - 1).map(str)})),
    family("const_gauge", alone({"value": real})),
    histogram("histogram"),
    histogram("native_histogram"),
    histogram("histogram_with_exemplars", exemplars()),
    family("info", st.lists(st.fixed_dictionaries({"labels": label_set}), min_size=1, max_size=1)),
    collected("collected_counter", counted),
    collected("collected_gauge", real),
    collected("collected_unknown", real),
    family("collected_info", st.lists(st.fixed_dictionaries({"labels": label_set}), min_size=1, max_size=3)),
    collected_histogram(),
    collected_histogram("changing_histogram"),
    collected_values(),
    st.sampled_from(["failing", "panicking"]).flatmap(lambda kind: collected(kind, real)),
)


def differences(registered, answer, with_promtool):
    """What is wrong with the scrape of these families in each format, a text each."""
    for name, content_type, parse in formats.FORMATS:
        wanted = families.expected(registered, binary=content_type == formats.PROTOBUF)
        answered, body = answer[name]
        body = bytes(body)
        if answered != content_type:
            yield f"{name}: the content type is {answered}"
            continue
        try:
            found = parse(body)
            if name == "text" and with_promtool:
                formats.promtool(body)
        except formats.Refused as refused:
            yield f"{name}: {refused}\n{body!r:.5000}"
            continue
        if content_type == formats.PROTOBUF and any(one["kind"] == "changing_histogram" for one in registered):
            # Nobody can tell which labels it has there.
            continue
        found.families = {name: one for name, one in found.families.items() if not families.is_omission(name)}
        found.samples = {key: one for key, one in found.samples.items() if not families.is_omission(key[0])}
        found_families, wanted_families = found.families, wanted.families
        if content_type != formats.PROTOBUF:
            found_families, wanted_families = map(formats.without_outer_spaces, (found_families, wanted_families))
        parts = [("samples", found.samples, wanted.samples), ("families", found_families, wanted_families)]
        if content_type != formats.TEXT:
            parts.append(("exemplars", found.exemplars, wanted.exemplars))
        for part, found_here, wanted_here in parts:
            if found_here != wanted_here:
                difference = families.difference(found_here, wanted_here)
                yield f"{part} of {name}:\n{difference}\n{body!r:.5000}"


def main():
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else secrets.randbits(32)
    cases = int(sys.argv[2]) if len(sys.argv) > 2 else CASES
    end_after(240 + cases // 10)
    print(f"  seed {seed}, {cases} cases")
    totals = {"cases": 0, "families": 0, "served": 0}
    with contextlib.ExitStack() as stack:
        scratch = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = scratch / "judged.log"
        server = judged.start(stack, "render", log)

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=cases,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(st.lists(any_family, min_size=1, max_size=4))
        def scrape_is_valid_and_whole(registered):
            answer = judged.ask(server, log, registered)
            totals["cases"] += 1
            totals["families"] += len(registered)
            totals["served"] += len(families.expected(registered).families)
            wrong = "\n".join(differences(registered, answer, totals["cases"] % PROMTOOL_EVERY == 0))
            assert not wrong, wrong

        scrape_is_valid_and_whole()
    print(f"  {totals['families']} families registered, {totals['served']} of them served; none of {totals['cases']} scrapes refused")


if __name__ == "__main__":
    main()
