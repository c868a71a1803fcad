"use strict";
// What the tests of kafkajs have in common. Each test uses topics and groups of its own.

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { setTimeout: delay } = require("node:timers/promises");
const { Kafka, logLevel } = require("kafkajs");

// Time limit of a condition in milliseconds, long enough for a busy machine.
const PATIENCE = 60_000;

function kafka(settings = {}) {
    return new Kafka({ clientId: "kafkajs-tests", brokers: [process.env.KAFKA], logLevel: logLevel.ERROR, ...settings });
}

function unique(name) {
    return `${name}-${randomUUID().slice(0, 8)}`;
}

// Waits until a condition holds, and returns its value.
async function until(description, condition) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
        const value = await condition();
        if (value) return value;
        if (Date.now() > deadline) throw new Error(`not within ${PATIENCE / 1000} s: ${description}`);
        await delay(50);
    }
}

// Repeats a request while its error is temporary, such as that the coordinator of a group is loading, and returns the answer.
function lasting(request) {
    return until("a lasting answer", async () => {
        try {
            return await request();
        } catch (error) {
            if (!(error.cause ?? error).retriable) throw error;
            return undefined;
        }
    });
}

// Calls a function with a client that is disconnected afterwards.
async function using(client, work) {
    await client.connect();
    try {
        return await work(client);
    } finally {
        await client.disconnect();
    }
}

// An error that may be temporary is retried only a few times, since the tests provoke some.
const withAdmin = (work) => using(kafka({ retry: { retries: 2 } }).admin(), work);
const withProducer = (work, settings = {}) => using(kafka().producer({ allowAutoTopicCreation: false, ...settings }), work);

// Creates a topic, and returns its name when each of its partitions answers.
async function topicOf(name, numPartitions = 1, configs = {}) {
    const topic = unique(name);
    const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }));
    await withAdmin(async (admin) => {
        await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: false });
        await lasting(() => admin.fetchTopicOffsets(topic));
    });
    return topic;
}

// Sends the numbers from `from` to before `to` as values to one partition.
async function sendNumbers(topic, from, to, partition = 0) {
    const messages = Array.from({ length: to - from }, (_, n) => ({ partition, value: String(from + n) }));
    await withProducer((producer) => producer.send({ topic, messages }));
}

// Starts a consumer that keeps its messages in `messages`. The caller disconnects it.
async function reading(topics, { fromBeginning = true, run = {}, ...settings } = {}) {
    const consumer = kafka().consumer({ groupId: unique("readers"), maxWaitTimeInMs: 100, ...settings });
    const messages = [];
    const eachMessage = async ({ topic, partition, message }) => void messages.push({ topic, partition, ...message });
    const joined = joins(consumer);
    try {
        await consumer.connect();
        await consumer.subscribe({ topics: [topics].flat(), fromBeginning });
        await consumer.run({ eachMessage, ...run });
        await until("the consumer joins its group", () => joined.length > 0);
    } catch (error) {
        await consumer.disconnect();
        throw error;
    }
    return { consumer, messages, joined };
}

// Returns a list that grows by the assignment of each generation that the consumer joins.
function joins(consumer) {
    const joined = [];
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => joined.push(payload.memberAssignment));
    return joined;
}

// Reads `count` messages of a topic from its beginning.
async function read(topic, count, settings = {}) {
    const { consumer, messages } = await reading(topic, settings);
    try {
        await until(`${count} messages of ${topic}`, () => messages.length >= count);
        return messages;
    } finally {
        await consumer.disconnect();
    }
}

// Asserts that the broker refuses a request with this error, which kafkajs wraps if it has retried or for several topics.
async function refused(request, type) {
    await assert.rejects(request, (error) => {
        const [found] = error.errors ?? error.groups?.map((group) => group.error) ?? [error.cause ?? error];
        assert.equal(found.type, type, found.message);
        return true;
    });
}

const texts = (messages) => messages.map(({ value }) => value.toString());
const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => String(from + n));

module.exports = {
    joins, kafka, lasting, numbers, read, reading, refused, sendNumbers, texts, topicOf, unique, until, withAdmin, withProducer,
};
