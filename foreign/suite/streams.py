"""An application of Kafka Streams with `exactly_once_v2` that is killed again and again counts each word once."""

import collections
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial

import confluent_kafka

from .brokers import HOME
from .tools import BEYOND, PATIENCE, completed, java

POM = pathlib.Path(__file__).parents[1] / "streams" / "pom.xml"
# The topics of WordCountDemo, an example of Kafka Streams with a repartition topic and a table.
INPUT, OUTPUT = "streams-plaintext-input", "streams-wordcount-output"
APP = "org.apache.kafka.streams.examples.wordcount.WordCountDemo"
WORDS = "all streams lead to kafka and some lead back again".split()
ROUNDS, LINES = 4, 300
# A dead worker holds nothing back for longer than this, in milliseconds.
TIMEOUT = 6_000


def checks(broker, programs):
    yield partial(counts_exactly_once, broker)


def counts_exactly_once(broker):
    """Kafka Streams counts each word once under exactly_once_v2, although it is killed."""
    jars = fetch()
    for topic in (INPUT, OUTPUT):
        java(broker, "topics", "--create", "--topic", topic, "--partitions", "3")
    choose, sent = random.Random(17), collections.Counter()
    producer = confluent_kafka.Producer({"bootstrap.servers": broker})
    with tempfile.TemporaryDirectory() as directory, committed(broker) as counts:
        directory = pathlib.Path(directory)
        for round in range(ROUNDS):
            before = sum(map(len, counts.found.values()))
            for _ in range(LINES):
                line = choose.choices(WORDS, k=4)
                sent.update(line)
                producer.produce(INPUT, " ".join(line).encode())
            assert producer.flush(PATIENCE) == 0
            with running(jars, broker, directory):
                # The last round is processed to its end, the others to somewhere in its middle.
                wanted = sum(sent.values()) if round == ROUNDS - 1 else before + choose.randrange(1, 4 * LINES)
                counts.read(wanted, directory / "log")
        counts.read_beyond()
        expected = {word: list(range(1, count + 1)) for word, count in sent.items()}
        for word in WORDS:
            found = counts.found[word]
            first = next((at for at, (one, other) in enumerate(zip(found, expected[word])) if one != other), None)
            assert found == expected[word], f"{word}: {len(found)} instead of {len(expected[word])} counts, the first other one at {first}"


def fetch():
    """Downloads Kafka Streams and its examples, unless they have been, and returns the directory of the jars."""
    jars = HOME / "streams"
    done = jars / "pom.xml"
    if not done.exists() or done.read_text() != POM.read_text():
        print(f"downloading Kafka Streams (90 MB) into {jars}", file=sys.stderr, flush=True)
        shutil.rmtree(jars, ignore_errors=True)
        completed(["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies", f"-DoutputDirectory={jars}", "-DincludeScope=runtime"])
        shutil.copy(POM, done)
    return jars


@contextmanager
def running(jars, broker, directory):
    """Runs the application, and kills it in the end."""
    config = directory / "streams.properties"
    settings = {
        "bootstrap.servers": broker,
        "application.id": "streams-exactly-once",
        "processing.guarantee": "exactly_once_v2",
        "commit.interval.ms": 100,
        "num.stream.threads": 2,
        "state.dir": directory / "state",
        "consumer.session.timeout.ms": TIMEOUT,
        "producer.transaction.timeout.ms": TIMEOUT,
    }
    config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(["java", *options, "-cp", f"{jars}/*", APP, str(config)], stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def committed(broker):
    """Reads the committed counts of the output topic."""
    settings = {"bootstrap.servers": broker, "group.id": "streams-reader", "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = confluent_kafka.Consumer(settings)
    places = [confluent_kafka.TopicPartition(OUTPUT, number, confluent_kafka.OFFSET_BEGINNING) for number in range(3)]
    consumer.assign(places)
    try:
        yield Counts(consumer)
    finally:
        consumer.close()


class Counts:
    """The counts of each word, in their order."""

    def __init__(self, consumer):
        self.consumer = consumer
        self.found = collections.defaultdict(list)

    def read(self, wanted, log):
        """Reads on until this number of counts was read since the beginning."""
        deadline = time.monotonic() + 2 * PATIENCE
        while (number := sum(map(len, self.found.values()))) < wanted:
            if not self.poll() and time.monotonic() > deadline:
                raise AssertionError(f"{number} of {wanted} counts; the log of Kafka Streams:\n{log.read_text()[-3000:]}")

    def read_beyond(self):
        """Reads what follows, which should be nothing."""
        deadline = time.monotonic() + BEYOND
        while time.monotonic() < deadline:
            self.poll()

    def poll(self):
        """Reads a count, if there is one within a short time."""
        message = self.consumer.poll(0.2)
        if message is None:
            return False
        assert not message.error(), message.error()
        self.found[message.key().decode()].append(int.from_bytes(message.value(), "big"))
        return True
