"use strict";
// kafkajs reads: order, batches, positions, commits, pauses, and limits of a fetch.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { lasting, numbers, read, reading, sendNumbers, texts, topicOf, unique, until, withAdmin, withProducer } = require("./support");

const committed = async (groupId, topic) => {
    const [{ partitions }] = await lasting(() => withAdmin((admin) => admin.fetchOffsets({ groupId, topics: [topic] })));
    return partitions.map(({ offset }) => offset);
};

test("reads each partition in order", async () => {
    const topic = await topicOf("ordered", 3);
    for (const partition of [0, 1, 2]) await sendNumbers(topic, 0, 50, partition);
    const got = await read(topic, 150, { run: { partitionsConsumedConcurrently: 3 } });
    for (const partition of [0, 1, 2]) {
        const own = got.filter((message) => message.partition === partition);
        assert.deepEqual(texts(own), numbers(0, 50));
        assert.deepEqual(own.map(({ offset }) => offset), numbers(0, 50));
    }
});

test("begins at the end unless told otherwise", async () => {
    const topic = await topicOf("from-end");
    await sendNumbers(topic, 0, 5);
    const { consumer, messages } = await reading(topic, { fromBeginning: false });
    try {
        // The position is known once a message has come: the first one may be sent before the consumer has asked for the end.
        let sent = 5;
        await until("a message", async () => {
            await sendNumbers(topic, sent, ++sent);
            return messages.length > 0;
        });
        assert.ok(Number(messages[0].value) >= 5, `begins at ${messages[0].value}`);
        await until("all later messages", () => messages.at(-1).value.toString() === String(sent - 1));
        assert.deepEqual(texts(messages), numbers(Number(messages[0].value), sent));
    } finally {
        await consumer.disconnect();
    }
});

test("reads batches with their offsets and lag", async () => {
    const topic = await topicOf("batches");
    await sendNumbers(topic, 0, 10);
    await sendNumbers(topic, 10, 30);
    const batches = [];
    const eachBatch = async ({ batch }) =>
        void batches.push({
            topic: batch.topic, partition: batch.partition, highWatermark: batch.highWatermark, empty: batch.isEmpty(),
            first: batch.firstOffset(), last: batch.lastOffset(), lag: batch.offsetLag(), values: texts(batch.messages),
        });
    const { consumer } = await reading(topic, { run: { eachMessage: undefined, eachBatch } });
    try {
        await until("all messages", () => batches.flatMap(({ values }) => values).length >= 30);
    } finally {
        await consumer.disconnect();
    }
    assert.deepEqual(batches.flatMap(({ values }) => values), numbers(0, 30));
    const last = batches.findLast(({ empty }) => !empty);
    assert.deepEqual([last.topic, last.partition, last.highWatermark, last.last, last.lag], [topic, 0, "30", "29", "0"]);
    assert.equal(batches[0].first, "0");
});

test("resumes after the offset that a batch has resolved", async () => {
    const [topic, groupId] = [await topicOf("resolved"), unique("resolving")];
    await sendNumbers(topic, 0, 20);
    let stopped = false;
    const eachBatch = async ({ batch, resolveOffset, commitOffsetsIfNecessary, uncommittedOffsets }) => {
        if (stopped) return;
        for (const message of batch.messages.slice(0, 7)) resolveOffset(message.offset);
        assert.equal(uncommittedOffsets().topics[0].partitions[0].offset, "7");
        await commitOffsetsIfNecessary(uncommittedOffsets());
        stopped = true;
    };
    const run = { eachMessage: undefined, eachBatch, eachBatchAutoResolve: false, autoCommit: false };
    const { consumer } = await reading(topic, { groupId, run });
    try {
        await until("the commit", async () => stopped && (await committed(groupId, topic))[0] === "7");
    } finally {
        await consumer.disconnect();
    }
    assert.deepEqual(texts(await read(topic, 13, { groupId })), numbers(7, 20));
});

test("commits by hand, with metadata", async () => {
    const [topic, groupId] = [await topicOf("committed", 2), unique("committing")];
    await sendNumbers(topic, 0, 10);
    const { consumer, messages } = await reading(topic, { groupId, run: { autoCommit: false } });
    try {
        await until("all messages", () => messages.length === 10);
        assert.deepEqual(await committed(groupId, topic), ["-1", "-1"]);
        await consumer.commitOffsets([{ topic, partition: 0, offset: "4", metadata: "half way" }]);
    } finally {
        await consumer.disconnect();
    }
    const [{ partitions }] = await lasting(() => withAdmin((admin) => admin.fetchOffsets({ groupId, topics: [topic] })));
    assert.deepEqual(partitions.map(({ offset }) => offset), ["4", "-1"]);
    assert.equal(partitions[0].metadata, "half way");
    assert.deepEqual(texts(await read(topic, 6, { groupId })), numbers(4, 10));
});

test("commits after a number of messages", async () => {
    const [topic, groupId] = [await topicOf("threshold"), unique("threshold")];
    await sendNumbers(topic, 0, 10);
    const { consumer, messages } = await reading(topic, { groupId, run: { autoCommitThreshold: 5 } });
    try {
        await until("all messages", () => messages.length === 10);
        await until("the commit", async () => (await committed(groupId, topic))[0] === "10");
    } finally {
        await consumer.disconnect();
    }
});

test("delivers a message again whose processing has failed", async () => {
    const [topic, groupId] = [await topicOf("retried"), unique("retrying")];
    await sendNumbers(topic, 0, 6);
    const seen = [];
    const eachMessage = async ({ message }) => {
        const value = message.value.toString();
        seen.push(value);
        if (value === "3" && seen.filter((other) => other === "3").length < 3) throw new Error("refused by the test");
    };
    const { consumer } = await reading(topic, { groupId, retry: { initialRetryTime: 50 }, run: { eachMessage } });
    try {
        await until("the last message", () => seen.at(-1) === "5");
        await until("the commit", async () => (await committed(groupId, topic))[0] === "6");
    } finally {
        await consumer.disconnect();
    }
    assert.deepEqual(seen, ["0", "1", "2", "3", "3", "3", "4", "5"]);
});

test("pauses one partition and resumes it", async () => {
    const topic = await topicOf("paused", 2);
    const { consumer, messages } = await reading(topic);
    const of = (partition) => texts(messages.filter((message) => message.partition === partition));
    try {
        for (const partition of [0, 1]) await sendNumbers(topic, 0, 5, partition);
        await until("the first messages", () => messages.length === 10);
        consumer.pause([{ topic, partitions: [0] }]);
        assert.deepEqual(consumer.paused(), [{ topic, partitions: [0] }]);
        await sendNumbers(topic, 5, 10, 0);
        // The other partition goes on for several fetches, in which the paused one would have been read.
        for (let next = 5; next < 10; next++) {
            await sendNumbers(topic, next, next + 1, 1);
            await until("the other partition", () => of(1).length === next + 1);
        }
        assert.deepEqual(of(0), numbers(0, 5));
        consumer.resume([{ topic, partitions: [0] }]);
        await until("the paused partition", () => of(0).length === 10);
    } finally {
        await consumer.disconnect();
    }
    assert.deepEqual([of(0), of(1)], [numbers(0, 10), numbers(0, 10)]);
});

test("seeks backwards and forwards", async () => {
    const topic = await topicOf("sought");
    await sendNumbers(topic, 0, 20);
    const { consumer, messages } = await reading(topic);
    try {
        await until("all messages", () => messages.length === 20);
        consumer.seek({ topic, partition: 0, offset: "15" });
        await until("the last five again", () => messages.length === 25);
        consumer.seek({ topic, partition: 0, offset: "25" });
        await sendNumbers(topic, 20, 30);
        await until("the messages behind the gap", () => messages.at(-1).value.toString() === "29");
    } finally {
        await consumer.disconnect();
    }
    assert.deepEqual(texts(messages).slice(0, 25), [...numbers(0, 20), ...numbers(15, 20)]);
    assert.deepEqual(texts(messages).slice(-5), numbers(25, 30));
});

test("begins again where an offset is out of range", async () => {
    const [topic, groupId] = [await topicOf("out-of-range"), unique("out-of-range")];
    await sendNumbers(topic, 0, 20);
    await withAdmin(async (admin) => {
        await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "3" }] });
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "12" }] });
    });
    assert.deepEqual(texts(await read(topic, 8, { groupId })), numbers(12, 20));
});

test("subscribes to the topics that match a pattern", async () => {
    const name = unique("pattern");
    const topics = [await topicOf(`${name}-a`), await topicOf(`${name}-b`), await topicOf(`other-${name}`)];
    for (const topic of topics) await sendNumbers(topic, 0, 3);
    const got = await read(new RegExp(`^${name}-.*`), 6);
    assert.deepEqual([...new Set(got.map(({ topic }) => topic))].sort(), topics.slice(0, 2));
});

test("reads batches that are larger than its limits", async () => {
    const topic = await topicOf("limits", 2);
    const value = "x".repeat(100_000);
    for (const partition of [0, 1]) {
        await withProducer(async (producer) => {
            for (let count = 0; count < 5; count++) await producer.send({ topic, messages: [{ partition, value }] });
        });
    }
    const got = await read(topic, 10, { maxBytesPerPartition: 1000, maxBytes: 5000, minBytes: 1 });
    assert.ok(got.every((message) => message.value.toString() === value));
    assert.deepEqual([0, 1].map((partition) => got.filter((message) => message.partition === partition).length), [5, 5]);
});

test("waits for as many bytes as it asks for", async () => {
    const topic = await topicOf("min-bytes");
    const batches = [];
    const eachBatch = async ({ batch }) => void (batch.isEmpty() || batches.push(texts(batch.messages).length));
    const { consumer } = await reading(topic, {
        minBytes: 100_000, maxWaitTimeInMs: 60_000, run: { eachMessage: undefined, eachBatch },
    });
    const send = () =>
        withProducer(async (producer) => {
            for (let sent = 0; sent < 110; sent++) await producer.send({ topic, messages: [{ value: "x".repeat(1000) }] });
        });
    try {
        await send();
        await until("a fetch of 100 kB", () => batches.length > 0);
    } finally {
        // The fetch that waits ends by more messages, not by the time limit.
        await Promise.all([consumer.disconnect(), send()]);
    }
    assert.ok(batches[0] >= 90, `answers with ${batches[0]} messages`);
});
