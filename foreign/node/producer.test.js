"use strict";
// kafkajs writes: placement, content, compression, acknowledgements, idempotence, and what the broker refuses.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { CompressionCodecs, CompressionTypes } = require("kafkajs");
const { numbers, read, refused, texts, topicOf, unique, withAdmin, withProducer } = require("./support");

CompressionCodecs[CompressionTypes.Snappy] = require("kafkajs-snappy");

test("acknowledges with partition and offset", async () => {
    const topic = await topicOf("acknowledged", 2);
    await withProducer(async (producer) => {
        for (const [acks, offset] of [[-1, 0], [1, 3]]) {
            const messages = numbers(0, 3).map((value) => ({ partition: 1, value }));
            const [answer] = await producer.send({ topic, acks, messages });
            assert.equal(answer.topicName, topic);
            assert.equal(answer.partition, 1);
            assert.equal(answer.errorCode, 0);
            assert.equal(answer.baseOffset, String(offset));
            assert.equal(answer.logStartOffset, "0");
        }
    });
});

test("writes without acknowledgement", async () => {
    const topic = await topicOf("unacknowledged");
    await withProducer(async (producer) => {
        const answer = await producer.send({ topic, acks: 0, messages: [{ value: "fired" }, { value: "forgotten" }] });
        assert.deepEqual(answer, []);
        assert.deepEqual(texts(await read(topic, 2)), ["fired", "forgotten"]);
    });
});

test("keeps keys, values, headers and timestamps", async () => {
    const topic = await topicOf("content");
    const sent = [
        { key: "ключ", value: "värde", headers: { one: "1", many: ["a", "b"], bytes: Buffer.from([0, 255]) }, timestamp: "1000" },
        { key: null, value: Buffer.alloc(0), timestamp: "2000" },
        { key: "deleted", value: null, timestamp: "3000" },
    ];
    await withProducer((producer) => producer.send({ topic, messages: sent }));
    const [first, second, third] = await read(topic, 3);
    assert.equal(first.key.toString(), "ключ");
    assert.equal(first.value.toString(), "värde");
    assert.equal(first.headers.one.toString(), "1");
    assert.deepEqual(first.headers.many.map(String), ["a", "b"]);
    assert.deepEqual(first.headers.bytes, Buffer.from([0, 255]));
    assert.deepEqual([second.key, second.value.length], [null, 0]);
    assert.deepEqual([third.key.toString(), third.value], ["deleted", null]);
    assert.deepEqual([first, second, third].map(({ timestamp }) => timestamp), ["1000", "2000", "3000"]);
});

test("takes the broker's time for a topic that asks for it", async () => {
    const topic = await topicOf("append-time", 1, { "message.timestamp.type": "LogAppendTime" });
    const before = Date.now() - 1;
    const [{ baseOffset }] = await withProducer((producer) => producer.send({ topic, messages: [{ value: "v", timestamp: "1000" }] }));
    const [message] = await read(topic, 1);
    assert.equal(baseOffset, "0");
    assert.ok(Number(message.timestamp) >= before && Number(message.timestamp) <= Date.now() + 1, message.timestamp);
});

test("places each key in one partition", async () => {
    const topic = await topicOf("placed", 4);
    const keys = numbers(0, 40);
    await withProducer(async (producer) => {
        for (let round = 0; round < 3; round++) {
            await producer.send({ topic, messages: keys.map((key) => ({ key, value: String(round) })) });
        }
    });
    const partitions = new Map(keys.map((key) => [key, new Map()]));
    for (const { key, partition, value } of await read(topic, 120)) {
        const found = partitions.get(key.toString());
        found.set(partition, [...(found.get(partition) ?? []), value.toString()]);
    }
    for (const [key, found] of partitions) {
        assert.deepEqual([...found.values()], [["0", "1", "2"]], `key ${key}`);
    }
    assert.equal(new Set([...partitions.values()].flatMap((found) => [...found.keys()])).size, 4);
});

test("compresses with gzip", () => compresses("gzip", CompressionTypes.GZIP));

test("compresses with snappy", () => compresses("snappy", CompressionTypes.Snappy));

async function compresses(name, compression) {
    // Uncompressed, the batch is too large for the topic.
    const topic = await topicOf(name, 1, { "max.message.bytes": "20000" });
    const messages = numbers(0, 100).map((number) => ({ key: number, value: `${number} ${"x".repeat(1000)}`, headers: { number } }));
    await withProducer(async (producer) => {
        const [{ baseOffset }] = await producer.send({ topic, compression, messages });
        assert.equal(baseOffset, "0");
        await refused(producer.send({ topic, messages }), "MESSAGE_TOO_LARGE");
    });
    const got = await read(topic, 100);
    assert.deepEqual(texts(got), messages.map(({ value }) => value));
    assert.deepEqual(got.map(({ offset }) => offset), numbers(0, 100));
    assert.deepEqual(got.map(({ headers }) => headers.number.toString()), numbers(0, 100));
}

test("writes a batch to several topics and partitions", async () => {
    const [one, two] = [await topicOf("batch-one", 2), await topicOf("batch-two")];
    const answers = await withProducer((producer) =>
        producer.sendBatch({
            topicMessages: [
                { topic: one, messages: [{ partition: 0, value: "a" }, { partition: 1, value: "b" }, { partition: 1, value: "c" }] },
                { topic: two, messages: [{ partition: 0, value: "d" }] },
            ],
        }),
    );
    const places = answers.map(({ topicName, partition, baseOffset }) => [topicName, partition, baseOffset]);
    assert.deepEqual(places.sort(), [[one, 0, "0"], [one, 1, "0"], [two, 0, "0"]].sort());
    const got = (await read([one, two], 4)).map(({ topic, partition, value }) => [topic, partition, value.toString()]);
    assert.deepEqual(got.sort(), [[one, 0, "a"], [one, 1, "b"], [one, 1, "c"], [two, 0, "d"]].sort());
});

test("numbers the batches of an idempotent producer", async () => {
    const topic = await topicOf("idempotent", 2);
    const sent = numbers(0, 200);
    for (const half of [sent.slice(0, 100), sent.slice(100)]) {
        await withProducer(
            async (producer) => {
                for (const value of half) {
                    await producer.send({ topic, messages: [{ partition: Number(value) % 2, value }] });
                }
            },
            { idempotent: true, maxInFlightRequests: 1 },
        );
    }
    const got = await read(topic, 200);
    for (const partition of [0, 1]) {
        const own = got.filter((message) => message.partition === partition);
        assert.deepEqual(texts(own), sent.filter((value) => Number(value) % 2 === partition));
        assert.deepEqual(own.map(({ offset }) => offset), numbers(0, 100));
    }
});

test("acknowledges concurrent batches without a gap", async () => {
    const topic = await topicOf("concurrent");
    const producers = 4;
    // Each batch is a value twice.
    const send = (producer, value) => producer.send({ topic, messages: [{ value }, { value }] });
    const sendAll = (name) => withProducer((producer) => Promise.all(numbers(0, 25).map((number) => send(producer, `${name}.${number}`))));
    const answers = await Promise.all(numbers(0, producers).map(sendAll));
    const offsets = answers.flat(2).map(({ baseOffset }) => Number(baseOffset)).sort((a, b) => a - b);
    assert.deepEqual(offsets, Array.from({ length: 100 }, (_, n) => 2 * n));
    const got = texts(await read(topic, 200));
    assert.equal(new Set(got).size, 100);
    assert.ok(got.every((value, place) => place % 2 === 0 || got[place - 1] === value), "a batch is torn apart");
});

test("refuses a message that is too large", async () => {
    const topic = await topicOf("large", 1, { "max.message.bytes": "1000" });
    await withProducer(async (producer) => {
        const tooLarge = producer.send({ topic, messages: [{ value: "x".repeat(2000) }] });
        await assert.rejects(tooLarge, { name: "KafkaJSProtocolError", type: "MESSAGE_TOO_LARGE", retriable: false });
        const [{ baseOffset }] = await producer.send({ topic, messages: [{ value: "x".repeat(500) }] });
        assert.equal(baseOffset, "0");
    });
});

test("refuses a record without a key in a compacted topic", async () => {
    const topic = await topicOf("compacted", 1, { "cleanup.policy": "compact" });
    await withProducer(async (producer) => {
        await refused(producer.send({ topic, messages: [{ value: "keyless" }] }), "INVALID_RECORD");
        const [{ baseOffset }] = await producer.send({ topic, messages: [{ key: "k", value: "v" }] });
        assert.equal(baseOffset, "0");
    });
});

test("creates a topic on first use only if the client asks for it", async () => {
    const topic = unique("first-use");
    await withProducer(
        async (producer) => {
            await refused(producer.send({ topic, messages: [{ value: "v" }] }), "UNKNOWN_TOPIC_OR_PARTITION");
        },
        { retry: { retries: 1 } },
    );
    assert.ok(!(await withAdmin((admin) => admin.listTopics())).includes(topic));
    await withProducer((producer) => producer.send({ topic, messages: [{ value: "v" }] }), { allowAutoTopicCreation: true });
    assert.deepEqual(texts(await read(topic, 1)), ["v"]);
});

test("refuses a topic whose name is invalid", async () => {
    await withProducer(
        async (producer) => {
            await refused(producer.send({ topic: "no spaces", messages: [{ value: "v" }] }), "INVALID_TOPIC_EXCEPTION");
        },
        { allowAutoTopicCreation: true, retry: { retries: 0 } },
    );
});
