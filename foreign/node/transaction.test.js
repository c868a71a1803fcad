"use strict";
// kafkajs makes transactions: what consumers see of them, offsets within them, fencing, and timeouts.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const {
    kafka, lasting, numbers, reading, refused, sendNumbers, texts, topicOf, unique, until, withAdmin, withProducer,
} = require("./support");

const transactional = (transactionalId, settings = {}) => ({ transactionalId, idempotent: true, maxInFlightRequests: 1, ...settings });

// Calls a function with consumers of a topic's committed and of all its messages.
async function withReaders(topics, work) {
    const [committed, all] = [await reading(topics), await reading(topics, { readUncommitted: true })];
    try {
        return await work(committed, all);
    } finally {
        await committed.consumer.disconnect();
        await all.consumer.disconnect();
    }
}

// Waits until a consumer has fetched several times from now on.
async function fetches({ consumer }) {
    let count = 0;
    const stop = consumer.on(consumer.events.FETCH, () => count++);
    await until("the consumer fetches", () => count >= 3);
    stop();
}

test("shows a transaction as a whole once it is committed", async () => {
    const [one, two] = [await topicOf("whole-one"), await topicOf("whole-two", 2)];
    await withReaders([one, two], (committed, all) =>
        withProducer(async (producer) => {
            const transaction = await producer.transaction();
            await transaction.send({ topic: one, messages: [{ value: "a" }] });
            await transaction.sendBatch({
                topicMessages: [{ topic: two, messages: [{ partition: 0, value: "b" }, { partition: 1, value: "c" }] }],
            });
            await sendNumbers(one, 0, 1);
            await until("all messages", () => all.messages.length === 4);
            await fetches(committed);
            assert.deepEqual(texts(committed.messages), [], "an open transaction holds back what follows it");
            await transaction.commit();
            await until("the committed messages", () => committed.messages.length === 4);
            assert.deepEqual(texts(committed.messages.filter(({ topic }) => topic === one)), ["a", "0"]);
            assert.deepEqual(texts(committed.messages.filter(({ topic }) => topic === two)).sort(), ["b", "c"]);
        }, transactional(unique("whole"))),
    );
});

test("drops an aborted transaction", async () => {
    const topic = await topicOf("dropped");
    await withReaders(topic, (committed, all) =>
        withProducer(async (producer) => {
            for (const [value, commits] of [["a", false], ["b", true], ["c", false], ["d", true]]) {
                const transaction = await producer.transaction();
                await transaction.send({ topic, messages: [{ value }] });
                await (commits ? transaction.commit() : transaction.abort());
                assert.equal(transaction.isActive(), false);
            }
            await until("the last message", () => committed.messages.length >= 2 && all.messages.length >= 4);
            assert.deepEqual(texts(committed.messages), ["b", "d"]);
            assert.deepEqual(texts(all.messages), ["a", "b", "c", "d"]);
        }, transactional(unique("dropped"))),
    );
});

test("commits offsets with the transaction only", async () => {
    const [topic, groupId] = [await topicOf("moved"), unique("moved")];
    const offset = () =>
        withAdmin(async (admin) => {
            const [{ partitions }] = await lasting(() => admin.fetchOffsets({ groupId, topics: [topic] }));
            return partitions[0].offset;
        });
    await sendNumbers(topic, 0, 10);
    await withProducer(async (producer) => {
        for (const [next, commits, expected] of [["3", true, "3"], ["5", false, "3"], ["7", true, "7"]]) {
            const transaction = await producer.transaction();
            await transaction.send({ topic, messages: [{ value: next }] });
            const before = await offset();
            await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic, partitions: [{ partition: 0, offset: next }] }] });
            assert.equal(await offset(), before, "the transaction is open");
            await (commits ? transaction.commit() : transaction.abort());
            // Kafka writes the marker of the group's offsets after its answer.
            await until(`offset ${expected}`, async () => (await offset()) === expected);
        }
    }, transactional(unique("moved")));
});

test("copies each message once although it aborts", async () => {
    const [from, to, groupId] = [await topicOf("copied-from"), await topicOf("copied-to"), unique("copied")];
    await sendNumbers(from, 0, 100);
    await withProducer(async (producer) => {
        let [attempts, done] = [0, 0];
        const eachBatch = async ({ batch }) => {
            // Batches that were fetched before a seek are out of place.
            const messages = batch.messages.filter(({ offset }) => Number(offset) >= done).slice(0, 10);
            if (messages.length === 0 || Number(messages[0].offset) > done) return;
            const transaction = await producer.transaction();
            await transaction.send({ topic: to, messages: messages.map(({ value }) => ({ value })) });
            const next = done + messages.length;
            await transaction.sendOffsets({ consumerGroupId: groupId, topics: [{ topic: from, partitions: [{ partition: 0, offset: String(next) }] }] });
            if (attempts++ % 3 === 1) {
                await transaction.abort();
            } else {
                await transaction.commit();
                done = next;
            }
            consumer.seek({ topic: from, partition: 0, offset: String(done) });
        };
        const { consumer } = await reading(from, { groupId, run: { eachBatch, eachMessage: undefined, autoCommit: false } });
        try {
            await until("all messages are copied", () => done === 100);
            assert.ok(attempts >= 14, `${attempts} transactions`);
        } finally {
            await consumer.disconnect();
        }
    }, transactional(unique("copied")));
    await withReaders(to, async (committed, all) => {
        await until("the copies", () => committed.messages.length >= 100 && all.messages.length > 100);
        assert.deepEqual(texts(committed.messages), numbers(0, 100));
    });
});

test("fences an earlier producer", async () => {
    const [topic, id] = [await topicOf("fenced"), unique("fenced")];
    const [first, second] = [0, 1].map(() => kafka({ retry: { retries: 2 } }).producer(transactional(id)));
    try {
        await first.connect();
        const lost = await first.transaction();
        await lost.send({ topic, messages: [{ value: "lost" }] });
        await second.connect();
        // The first transaction initializes the id.
        const kept = await second.transaction();
        await refused(lost.send({ topic, messages: [{ value: "late" }] }), "INVALID_PRODUCER_EPOCH");
        await refused(lost.commit(), "INVALID_PRODUCER_EPOCH");
        await kept.send({ topic, messages: [{ value: "kept" }] });
        await kept.commit();
    } finally {
        await first.disconnect();
        await second.disconnect();
    }
    await withReaders(topic, async (committed, all) => {
        await until("the messages", () => committed.messages.length >= 1 && all.messages.length >= 2);
        assert.deepEqual(texts(committed.messages), ["kept"]);
        assert.deepEqual(texts(all.messages), ["lost", "kept"]);
    });
});

test("loses a transaction that takes too long", async () => {
    const [topic, id] = [await topicOf("slow"), unique("slow")];
    await withReaders(topic, (committed) =>
        withProducer(async (producer) => {
            const transaction = await producer.transaction();
            await transaction.send({ topic, messages: [{ value: "slow" }] });
            await sendNumbers(topic, 0, 1);
            await until("the brokers abort the transaction", () => committed.messages.length === 1);
            assert.deepEqual(texts(committed.messages), ["0"]);
            await refused(transaction.commit(), "INVALID_PRODUCER_EPOCH");
        }, transactional(id, { transactionTimeout: 1000 })),
    );
});
