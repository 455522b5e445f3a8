"""The formats of a scrape, each read by a parser that is not ours.

All are read into a `Scrape`, in which the same families are equal whatever the format: names of families and types
are those of the text format 0.0.4 (`x_total`, an info is a gauge), numbers are their `repr`, and of a sample only
what identifies it and its value is kept.
"""

import contextlib
import subprocess
from dataclasses import dataclass, field

import prometheus_client.openmetrics.parser
import prometheus_client.parser
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.internal.decoder import _DecodeVarint32

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"


class Refused(Exception):
    """What a parser, or a rule that no parser checks, has against a scrape."""


@dataclass
class Scrape:
    # (name, labels) to value
    samples: dict = field(default_factory=dict)
    # name to (type, help)
    families: dict = field(default_factory=dict)
    # (name, labels) to (labels, value, time)
    exemplars: dict = field(default_factory=dict)

    def add_family(self, name, kind, text):
        if name in self.families:
            raise Refused(f"the family {name} is there twice")
        self.families[name] = (kind, text)

    def add(self, name, labels, value, exemplar=None):
        key = series(name, labels)
        # The strict parser skips the second one without a word, and Prometheus loses it.
        if key in self.samples:
            raise Refused(f"the series {key} is there twice")
        self.samples[key] = number(value)
        if exemplar:
            self.exemplars[key] = exemplar


def number(value):
    # The binary format has one zero.
    return repr(float(value) + 0.0)


def without_outer_spaces(found):
    """Families as the parsers of text give them, which strip their helps."""
    return {name: (kind, text.strip()) for name, (kind, text) in found.items()}


def series(name, labels):
    """What identifies a series: a label without a value is none, and the bounds of buckets are numbers."""
    labels = {key: value for key, value in dict(labels).items() if value != ""}
    if name.endswith("_bucket") and "le" in labels:
        with contextlib.suppress(ValueError):
            labels["le"] = number(labels["le"])
    return name, frozenset(labels.items())


def exemplar_of(labels, value, time):
    """Times are compared by the millisecond, as Prometheus stores them."""
    return frozenset(dict(labels).items()), number(value), None if time is None else round(float(time) * 1000)


def openmetrics(body):
    scrape = Scrape()
    try:
        families = list(prometheus_client.openmetrics.parser.text_string_to_metric_families(body.decode()))
    except (ValueError, KeyError, IndexError) as error:
        raise Refused(f"the strict OpenMetrics parser: {error!r}") from error
    for family in families:
        name = family.name
        # The parser takes `_total` away from the name of a counter even where it belongs to it.
        if family.type in ("counter", "info") and family.samples:
            name = family.samples[0].name
        kind = {"info": "gauge", "unknown": "untyped"}.get(family.type, family.type)
        scrape.add_family(name, kind, family.documentation)
        for sample in family.samples:
            found = sample.exemplar
            found = found and exemplar_of(found.labels, found.value, found.timestamp)
            scrape.add(sample.name, sample.labels, sample.value, found)
    # What the parser skipped is missing among its samples.
    lines = sum(not line.startswith("#") for line in body.decode().removesuffix("\n").split("\n"))
    if lines != len(scrape.samples):
        raise Refused(f"{lines} lines of samples are {len(scrape.samples)} series: some are there twice")
    return scrape


def text(body):
    scrape = Scrape()
    try:
        families = list(prometheus_client.parser.text_string_to_metric_families(body.decode()))
    except (ValueError, KeyError, IndexError) as error:
        raise Refused(f"the parser of the text format: {error!r}") from error
    for family in families:
        name = family.samples[0].name if family.type == "counter" and family.samples else family.name
        kind = {"unknown": "untyped"}.get(family.type, family.type)
        scrape.add_family(name, kind, family.documentation)
        for sample in family.samples:
            scrape.add(sample.name, sample.labels, sample.value)
    return scrape


def promtool(body):
    """What `promtool check metrics` remarks, a line each. An error of syntax is no remark: it is refused."""
    checked = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    said = checked.stderr.decode()
    # 3 is for remarks.
    if checked.returncode not in (0, 3):
        raise Refused(f"promtool: {said}")
    return said.splitlines()


# io.prometheus.client of the protocol of Prometheus: number, name and type of each field; `*` for repeated ones.
PROTOCOL = {
    "LabelPair": "1 name string, 2 value string",
    "Exemplar": "1 label *LabelPair, 2 value double, 3 timestamp Timestamp",
    "Gauge": "1 value double",
    "Counter": "1 value double, 2 exemplar Exemplar",
    "Untyped": "1 value double",
    "Bucket": "1 cumulative_count uint64, 2 upper_bound double, 3 exemplar Exemplar",
    "BucketSpan": "1 offset sint32, 2 length uint32",
    "Histogram": "1 sample_count uint64, 2 sample_sum double, 3 bucket *Bucket, 5 schema sint32, 6 zero_threshold double,"
    " 7 zero_count uint64, 9 negative_span *BucketSpan, 10 negative_delta *sint64, 12 positive_span *BucketSpan,"
    " 13 positive_delta *sint64, 15 start_timestamp Timestamp",
    "Metric": "1 label *LabelPair, 2 gauge Gauge, 3 counter Counter, 5 untyped Untyped, 7 histogram Histogram",
    "MetricFamily": "1 name string, 2 help string, 3 type int32, 4 metric *Metric, 5 unit string",
}
TYPES = {0: "counter", 1: "gauge", 3: "untyped", 4: "histogram"}


def metric_family():
    """The message of the protocol, as a class."""
    types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="metrics.proto",
        package="io.prometheus.client",
        syntax="proto3",
        dependency=["google/protobuf/timestamp.proto"],
    )
    for message, fields in PROTOCOL.items():
        declared = file.message_type.add(name=message)
        for declaration in fields.split(", "):
            place, name, kind = declaration.split()
            added = declared.field.add(name=name, number=int(place), label=types.LABEL_OPTIONAL)
            if kind.startswith("*"):
                added.label = types.LABEL_REPEATED
            kind = kind.removeprefix("*")
            if kind in PROTOCOL:
                added.type_name = f".io.prometheus.client.{kind}"
            elif kind == "Timestamp":
                added.type_name = ".google.protobuf.Timestamp"
            added.type = types.TYPE_MESSAGE if added.type_name else getattr(types, f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("io.prometheus.client.MetricFamily"))


MetricFamily = metric_family()


def messages(body):
    """The families of a protobuf scrape, each after its length."""
    at = 0
    while at < len(body):
        size, at = _DecodeVarint32(body, at)
        if at + size > len(body):
            raise Refused(f"protobuf: {at + size - len(body)} bytes are missing")
        yield MetricFamily.FromString(body[at : at + size])
        at += size


def labels_of(pairs):
    labels = {pair.name: pair.value for pair in pairs}
    if len(labels) != len(pairs):
        raise Refused(f"protobuf: a label twice in {pairs}")
    return labels


def protobuf(body):
    scrape = Scrape()
    for family in messages(body):
        kind = TYPES[family.type]
        scrape.add_family(family.name, kind, family.help)
        for metric in family.metric:
            labels = labels_of(metric.label)
            # A value in the field of another type is one that Prometheus does not see.
            if not metric.HasField(kind):
                raise Refused(f"protobuf: {family.name} has the type {kind}, and no value of it:\n{metric}")
            value = getattr(metric, kind)
            if kind != "histogram":
                scrape.add(family.name, labels, value.value, exemplar_in(value) if kind == "counter" else None)
                continue
            scrape.add(f"{family.name}_sum", labels, value.sample_sum)
            scrape.add(f"{family.name}_count", labels, value.sample_count)
            if "le" in labels and value.bucket:
                raise Refused(f"protobuf: the histogram {family.name} has a label le")
            for bucket in value.bucket:
                bound = labels | {"le": bucket.upper_bound}
                scrape.add(f"{family.name}_bucket", bound, bucket.cumulative_count, exemplar_in(bucket))
    return scrape


def exemplar_in(message):
    if not message.HasField("exemplar"):
        return None
    found = message.exemplar
    time = found.timestamp.ToMilliseconds() / 1000 if found.HasField("timestamp") else None
    return exemplar_of(labels_of(found.label), found.value, time)


FORMATS = [("openmetrics", OPENMETRICS, openmetrics), ("text", TEXT, text), ("protobuf", PROTOBUF, protobuf)]
