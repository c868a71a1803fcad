"""Third-party clients only: each reads the messages of every other one, in the partition that Java's partitioner selects."""

from functools import partial

from kafka.partitioner.default import murmur2

from .tools import FEEDERS, READERS, java

TOPIC, PARTITIONS = "foreign.round", 5


def checks(broker, programs):
    yield partial(all_read_all, "each of kcat, Java and Python", broker)


def all_read_all(_, broker):
    """{0} reads the messages of every other one, in the partitions selected by Java's partitioner."""
    java(broker, "topics", "--create", "--topic", TOPIC, "--partitions", str(PARTITIONS))
    expected = []
    for feeder, feed in FEEDERS.items():
        messages = [(f"k{n}", f"{feeder} says {n}, ü") for n in range(20)]
        feed(broker, TOPIC, messages)
        expected += [(placed(key, PARTITIONS), key, value) for key, value in messages]
    for reader, read in READERS.items():
        assert_same(f"messages read by {reader}", read(broker, TOPIC, len(expected)), expected)


def placed(key, partitions):
    """Returns the partition that Java's producer selects for a key."""
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def assert_same(what, got, expected):
    """Asserts that the messages are equal, including duplicates, in any order."""
    got, expected = sorted(got), sorted(expected)
    if got != expected:
        missing = [message for message in expected if message not in got][:3]
        extra = [message for message in got if message not in expected][:3]
        raise AssertionError(f"{what}: {len(got)} instead of {len(expected)}; missing: {missing}; unexpected: {extra}")
