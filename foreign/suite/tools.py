"""Clients that write and read topics. A message is (key, value), both strings; a message read is (partition, key, value)."""

import asyncio
import json
import subprocess
import time

import aiokafka
import confluent_kafka
import kafka

from . import ours
from .brokers import LIBS

# Timeout in seconds, long enough for a busy machine.
PATIENCE = 60
# Time for a message beyond the expected ones, in seconds. Offsets do not tell their number: the ends of transactions have some, too.
BEYOND = 2

TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "producer": "org.apache.kafka.tools.ConsoleProducer",
    "consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "offsets": "org.apache.kafka.tools.GetOffsetShell",
    "configs": "kafka.admin.ConfigCommand",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "elections": "org.apache.kafka.tools.LeaderElectionCommand",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "reassignments": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
    "copier": "org.apache.kafka.tools.TransactionalMessageCopier",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "acls": "org.apache.kafka.tools.AclCommand",
}


def java(broker, tool, *arguments, text=None, option="--bootstrap-server"):
    """Runs one of Kafka's console tools; returns its output."""
    options = ["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    command = ["java", *options, "-cp", f"{LIBS}/*", TOOLS[tool], option, broker, *arguments]
    return completed(command, text)


def completed(command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=2 * PATIENCE)
    if done.returncode != 0:
        raise RuntimeError(f"{command} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def lines(messages):
    return "".join(f"{key}\t{value}\n" for key, value in messages)


# Writers.


def feed_kcat(broker, topic, messages, *options):
    command = ["kcat", "-P", "-b", broker, "-t", topic, "-K", "\t", "-X", "partitioner=murmur2_random", *options]
    completed(command, lines(messages))


def feed_console(broker, topic, messages):
    keys = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=\t"]
    java(broker, "producer", "--topic", topic, *keys, text=lines(messages))


def feed_kafka_python(broker, topic, messages):
    producer = kafka.KafkaProducer(bootstrap_servers=broker, acks="all")
    sent = [producer.send(topic, key=key.encode(), value=value.encode()) for key, value in messages]
    for future in sent:
        future.get(timeout=PATIENCE)
    producer.close()


def feed_aiokafka(broker, topic, messages):
    async def feed():
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True) as producer:
            for key, value in messages:
                await producer.send_and_wait(topic, key=key.encode(), value=value.encode())

    asyncio.run(feed())


def feed_confluent(broker, topic, messages):
    settings = {"bootstrap.servers": broker, "enable.idempotence": True, "partitioner": "murmur2_random"}
    producer = confluent_kafka.Producer(settings)
    for key, value in messages:
        producer.produce(topic, key=key, value=value)
    left = producer.flush(PATIENCE)
    assert left == 0, f"{left} messages were not delivered"


FEEDERS = {
    "kcat": feed_kcat,
    "the console producer": feed_console,
    "kafka-python": feed_kafka_python,
    "aiokafka": feed_aiokafka,
    "confluent-kafka": feed_confluent,
}


# Readers, from the beginning to the end of a topic.


def read_kcat(broker, topic, _):
    form = "%p\t%k\t%s\n"
    output = completed(["kcat", "-C", "-q", "-e", "-b", broker, "-t", topic, "-o", "beginning", "-f", form])
    return rows(output.splitlines())


def read_console(broker, topic, count):
    shown = [f"--formatter-property={name}" for name in ("print.partition=true", "print.key=true", "key.separator=\t")]
    end = ["--max-messages", str(count), "--timeout-ms", str(PATIENCE * 1000)]
    output = java(broker, "consumer", "--topic", topic, "--from-beginning", *shown, *end)
    return rows(line.removeprefix("Partition:") for line in output.splitlines())


def rows(texts):
    split = (text.split("\t", 2) for text in texts)
    return sorted((int(partition), key, value) for partition, key, value in split)


def read_kafka_python(broker, topic, _):
    consumer = kafka.KafkaConsumer(bootstrap_servers=broker, enable_auto_commit=False, auto_offset_reset="earliest")
    partitions = [kafka.TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends, deadline, read = consumer.end_offsets(partitions), time.monotonic() + PATIENCE, []
    while any(consumer.position(partition) < end for partition, end in ends.items()):
        assert time.monotonic() < deadline, f"kafka-python does not reach the end of {topic}"
        for records in consumer.poll(timeout_ms=500).values():
            read += [(record.partition, record.key.decode(), record.value.decode()) for record in records]
    consumer.close()
    return sorted(read)


def read_aiokafka(broker, topic, count):
    async def read():
        async with aiokafka.AIOKafkaConsumer(bootstrap_servers=broker, auto_offset_reset="earliest") as consumer:
            await consumer._client.force_metadata_update()
            numbers = await asyncio.wait_for(partitions_of(consumer, topic), PATIENCE)
            partitions = [aiokafka.TopicPartition(topic, number) for number in numbers]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            found = []
            while True:
                try:
                    record = await asyncio.wait_for(consumer.getone(), PATIENCE if len(found) < count else BEYOND)
                except asyncio.TimeoutError:
                    assert len(found) >= count, f"aiokafka reads {len(found)} of {count} messages"
                    return found
                found.append((record.partition, record.key.decode(), record.value.decode()))

    return sorted(asyncio.run(read()))


async def partitions_of(consumer, topic):
    consumer._client.add_topic(topic)
    while not consumer.partitions_for_topic(topic):
        await asyncio.sleep(0.1)
    return consumer.partitions_for_topic(topic)


def read_confluent(broker, topic, count):
    settings = {"bootstrap.servers": broker, "group.id": "reader", "enable.auto.commit": False}
    consumer = confluent_kafka.Consumer(settings)
    numbers = consumer.list_topics(topic, PATIENCE).topics[topic].partitions
    places = [confluent_kafka.TopicPartition(topic, number, confluent_kafka.OFFSET_BEGINNING) for number in numbers]
    consumer.assign(places)
    read = []
    while True:
        message = consumer.poll(PATIENCE if len(read) < count else BEYOND)
        if message is None and len(read) >= count:
            break
        assert message is not None and message.error() is None, f"confluent-kafka reads {message and message.error()}"
        read.append((message.partition(), message.key().decode(), message.value().decode()))
    consumer.close()
    return sorted(read)


def reader_ours(program):
    def read_ours(broker, topic, count):
        output = ours.run(program, broker, "consume", topic, "--from-beginning", "-n", str(count), "--json", "--timeout", "60s")
        read = (json.loads(line) for line in output.splitlines())
        return sorted((message["partition"], message["key"], message["value"]) for message in read)

    return read_ours


READERS = {
    "kcat": read_kcat,
    "the console consumer": read_console,
    "kafka-python": read_kafka_python,
    "aiokafka": read_aiokafka,
    "confluent-kafka": read_confluent,
}
