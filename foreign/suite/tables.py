"""All clients read the changelog of a table: the last value of each key is the value in the table."""

import json
from functools import partial

from . import ours, python_faust
from .clients import assert_same, placed
from .lesson import CLICKS, PARTITIONS, click
from .tools import FEEDERS, READERS, read_kcat, reader_ours

CHANGELOG = "tables-uri_summary-changelog"


def checks(broker, programs):
    sums = {}
    yield partial(sums_clicks, "tables", broker, programs, sums)
    for reader, read in (READERS | {"consume": reader_ours(programs["tables"])}).items():
        yield partial(reads, reader, read, broker, sums)
    yield partial(their_agent_reads, "Python Faust", broker, sums)


def sums_clicks(example, broker, programs, sums):
    """{0} prints the sum of each page, with two workers in succession."""
    for who in ("kcat", "confluent-kafka"):
        made = [click(n, who) for n in range(25)]
        FEEDERS[who](broker, CLICKS, [(made["uri"], json.dumps(made)) for made in made])
        printed = ours.run(programs[example], broker, "worker", "--until-idle", "2s").splitlines()
        sums.update((page, int(total)) for page, total in (line.rsplit(": ", 1) for line in printed if line))
    read = ours.run(programs[example], broker, "consume", CLICKS, "--from-beginning", "--timeout", "3s")
    expected = {}
    for made in map(json.loads, read.splitlines()):
        expected[made["uri"]] = expected.get(made["uri"], 0) + made["number"]
    assert sums == expected, f"{sums} instead of {expected}"


def reads(reader, read, broker, sums):
    """{0} reads the table's changelog."""
    records = read(broker, CHANGELOG, count(broker))
    for partition, key, _ in records:
        assert partition == placed(key, PARTITIONS), f"{key} is in partition {partition}"
    assert_last(reader, [(key, int(value)) for _, key, value in records], sums)


def their_agent_reads(who, broker, sums):
    """{0} has an agent that reads the table's changelog."""
    assert_last(who, python_faust.shown(broker, CHANGELOG, count(broker)), sums)


def count(broker):
    return len(read_kcat(broker, CHANGELOG, None))


def assert_last(who, pairs, sums):
    """The readers sort the messages. Numbers of clicks are not negative, so the last sum of a key is its largest."""
    last = {}
    for key, value in pairs:
        last[key] = max(last.get(key, 0), value)
    assert_same(f"the changelog read by {who}", last.items(), sums.items())
