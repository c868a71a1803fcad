"""Third-party clients only: each reads the messages of every other one, in the partition that Java's partitioner selects."""

from functools import partial

from kafka.partitioner.default import murmur2

from .tools import FEEDERS, READERS, feed_kcat, java

TOPIC, PARTITIONS = "foreign.round", 5
CODECS = ["gzip", "snappy", "lz4", "zstd"]
# The other readers decompress only with packages of their own.
DECOMPRESSING = ["kcat", "the console consumer", "confluent-kafka"]


def checks(broker, programs):
    yield partial(all_read_all, "each of kcat, Java and Python", broker)
    for codec in CODECS:
        yield partial(kcat_compresses, codec, broker)


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


def kcat_compresses(codec, broker):
    """kcat compresses with {0} for a topic that takes no larger batch, and kcat, Java and Python read it."""
    topic = f"foreign.{codec}"
    java(broker, "topics", "--create", "--topic", topic, "--partitions", "1", "--config", "max.message.bytes=2000")
    message = ("key", "x" * 20_000)
    feed_kcat(broker, topic, [message], "-z", codec)
    for reader in DECOMPRESSING:
        assert_same(f"messages read by {reader}", READERS[reader](broker, topic, 1), [(0, *message)])


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
