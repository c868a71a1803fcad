"""Runs one of the lesson's programs on existing clicks until it has printed a line for each."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

import confluent_kafka
from confluent_kafka.admin import AdminClient, NewTopic

ORIGINALS = pathlib.Path(__file__).resolve().parents[1] / "originals"
TOPIC = "com.udacity.streams.clickevents"
PATIENCE = 120


def run(program, broker, partitions, clicks):
    """Returns the printed lines, and the timestamps in the repartition topic by URI, or None without such a topic."""
    admin = AdminClient({"bootstrap.servers": broker})
    forget_all(admin)
    # The clicks have old timestamps: with the default retention of seven days, Kafka would delete them.
    topic = NewTopic(TOPIC, partitions, 1, config={"retention.ms": "-1"})
    admin.create_topics([topic])[TOPIC].result(PATIENCE)
    send(broker, clicks)
    lines = work(program, broker, partitions, len(clicks))
    regrouped = [name for name in topics(admin) if name.endswith("-repartition")]
    return lines, times_in(broker, regrouped[0]) if regrouped else None


def topics(admin):
    return [name for name in admin.list_topics(timeout=PATIENCE).topics if not name.startswith("__consumer")]


def forget_all(admin):
    if old := topics(admin):
        for future in admin.delete_topics(old).values():
            future.result(PATIENCE)
    wait_until(lambda: not topics(admin), "topics still exist")


def send(broker, clicks):
    settings = {"bootstrap.servers": broker, "enable.idempotence": True, "partitioner": "murmur2_random"}
    producer = confluent_kafka.Producer(settings)
    for key, value, milliseconds in clicks:
        producer.produce(TOPIC, key=key, value=value, timestamp=milliseconds)
    left = producer.flush(PATIENCE)
    assert left == 0, f"{left} clicks were not delivered"


def work(program, broker, partitions, count):
    with tempfile.TemporaryDirectory() as directory:
        settings = {
            "BROKER_URL": f"kafka://{broker}",
            "TOPIC_PARTITIONS": str(partitions),
            "APP_DATADIR": directory,
            # A new version is a new group, so that no run waits for the members of the previous one.
            "APP_VERSION": str(time.time_ns() // 1_000_000_000),
        }
        command = [sys.executable, str(ORIGINALS / f"{program}.py"), "worker", "--without-web", "-l", "info"]
        log = pathlib.Path(directory, "log")
        with log.open("w") as output:
            process = subprocess.Popen(command, env=os.environ | settings, stdout=output, stderr=output)
        try:
            wait_until(lambda: len(said(log)) >= count or process.poll() is not None, f"{program} has not printed all lines")
            # After the shutdown, the count shows if it has printed more than one line for a click.
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)
            assert len(said(log)) == count, f"{len(said(log))} lines for {count} clicks"
        except Exception as error:
            raise RuntimeError(f"{error}; its output:\n{log.read_text()[-3000:]}") from error
        finally:
            process.kill()
            process.wait()
        return said(log)


def said(log):
    """Returns the lines printed by the program, which Python Faust redirects to its log."""
    return re.findall(r"(?<=\[WARNING\] )https://\S+: \d+", log.read_text())


def times_in(broker, topic):
    """Returns the timestamp of each message, in the order of its partition, as {uri: [milliseconds, ..]}."""
    settings = {"bootstrap.servers": broker, "group.id": "times", "enable.auto.commit": False, "enable.partition.eof": True}
    consumer = confluent_kafka.Consumer(settings)
    parts = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
    beginning = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, part, beginning) for part in parts])
    times, ended, deadline = {}, set(), time.monotonic() + PATIENCE
    while len(ended) < len(parts) and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
            ended.add(message.partition())
        else:
            times.setdefault(message.key().decode().strip('"'), []).append(message.timestamp()[1])
    consumer.close()
    return times


def wait_until(true, what):
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise RuntimeError(what)
        time.sleep(0.1)
