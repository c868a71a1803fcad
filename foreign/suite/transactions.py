"""Transactions of third-party clients: consumers of committed records see whole transactions, and each message once."""

import asyncio
import time
from functools import partial

import aiokafka
import confluent_kafka

from .tools import PATIENCE, java

COUNT = 300


def checks(broker, programs):
    yield partial(java_copies, broker)
    yield partial(java_describes, broker)
    yield partial(aiokafka_moves_offsets, broker)
    yield partial(confluent_is_fenced, broker)


def create(broker, *topics):
    for topic in topics:
        java(broker, "topics", "--create", "--topic", topic, "--partitions", "1")


def committed(broker, topic):
    """Returns the values that librdkafka reads from a topic with one partition."""
    settings = {"bootstrap.servers": broker, "group.id": "committed", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = confluent_kafka.Consumer(settings)
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    read = []
    while True:
        message = consumer.poll(PATIENCE)
        assert message is not None, f"librdkafka does not reach the end of {topic}"
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
            consumer.close()
            return read
        read.append(message.value().decode())


def java_copies(broker):
    """Java's TransactionalMessageCopier copies each message once, although it aborts transactions at random."""
    create(broker, "transactions.in", "transactions.out")
    made = [str(number) for number in range(COUNT)]
    java(broker, "producer", "--topic", "transactions.in", text="".join(f"{one}\n" for one in made))
    where = ["--input-topic", "transactions.in", "--input-partition", "0", "--output-topic", "transactions.out"]
    how = ["--transactional-id", "copier", "--consumer-group", "copy", "--transaction-size", "7", "--max-messages", str(COUNT)]
    java(broker, "copier", *where, *how, "--enable-random-aborts", option="--broker-list")
    assert committed(broker, "transactions.out") == made
    ends = java(broker, "offsets", "--topic", "transactions.out").split()
    assert int(ends[0].rsplit(":", 1)[1]) > COUNT + COUNT // 7, f"there are markers, and records of aborted transactions: {ends}"


def java_describes(broker):
    """Java's TransactionsCommand lists the copier, describes it and its producer, and finds nothing that hangs."""
    assert "copier" in java(broker, "transactions", "list"), "the transactional id is listed"
    shown = java(broker, "transactions", "describe", "--transactional-id", "copier")
    assert "CompleteCommit" in shown, shown
    shown = java(broker, "transactions", "describe-producers", "--topic", "transactions.out", "--partition", "0")
    assert len(shown.splitlines()) == 2 and "None" in shown, shown
    assert len(java(broker, "transactions", "find-hanging", "--broker-id", "1").splitlines()) <= 1
    assert "transaction.version" in java(broker, "features", "describe")


async def eventually(ask, expected):
    """Repeats a question until the answer is the expected one, and returns the last answer."""
    deadline = time.monotonic() + PATIENCE
    while (found := await ask()) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return found


def aiokafka_moves_offsets(broker):
    """aiokafka commits offsets with a transaction, and drops them with an aborted one."""
    create(broker, "transactions.aiokafka")
    place = aiokafka.TopicPartition("transactions.aiokafka", 0)

    async def run():
        async with aiokafka.AIOKafkaProducer(bootstrap_servers=broker, transactional_id="aiokafka") as producer:
            async with aiokafka.AIOKafkaConsumer(bootstrap_servers=broker, group_id="aiokafka", enable_auto_commit=False) as consumer:
                consumer.assign([place])
                for number, commits, expected in [(1, True, 1), (2, False, 1), (3, True, 3)]:
                    await producer.begin_transaction()
                    await producer.send_and_wait("transactions.aiokafka", str(number).encode())
                    await producer.send_offsets_to_transaction({place: number}, "aiokafka")
                    await (producer.commit_transaction() if commits else producer.abort_transaction())
                    # Kafka writes the marker of the group's offsets after its answer.
                    assert await eventually(lambda: consumer.committed(place), expected) == expected

    asyncio.run(run())
    assert committed(broker, "transactions.aiokafka") == ["1", "3"]


def confluent_is_fenced(broker):
    """confluent-kafka's producer is fenced by a second one, and its open transaction is aborted."""
    create(broker, "transactions.fenced")

    def producer():
        made = confluent_kafka.Producer({"bootstrap.servers": broker, "transactional.id": "fenced"})
        made.init_transactions(PATIENCE)
        made.begin_transaction()
        return made

    first = producer()
    first.produce("transactions.fenced", "lost")
    assert first.flush(PATIENCE) == 0
    second = producer()
    second.produce("transactions.fenced", "kept")
    try:
        first.commit_transaction(PATIENCE)
        raise AssertionError("the first producer has committed")
    except confluent_kafka.KafkaException as fenced:
        assert fenced.args[0].fatal() and fenced.args[0].code() == confluent_kafka.KafkaError._FENCED, fenced
    second.commit_transaction(PATIENCE)
    assert committed(broker, "transactions.fenced") == ["kept"]
