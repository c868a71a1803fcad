"use strict";
// The admin client of kafkajs: topics, partitions, configs, offsets, records, and the cluster.

const assert = require("node:assert/strict");
const { test } = require("node:test");
const {
    AclOperationTypes, AclPermissionTypes, AclResourceTypes, ConfigResourceTypes, ResourcePatternTypes,
} = require("kafkajs");
const { lasting, numbers, read, refused, sendNumbers, texts, topicOf, unique, until, withAdmin, withProducer } = require("./support");

test("creates, lists and deletes topics", async () => {
    const topics = [unique("created"), unique("created")];
    await withAdmin(async (admin) => {
        assert.equal(await admin.createTopics({ topics: topics.map((topic) => ({ topic })), waitForLeaders: false }), true);
        assert.equal(await admin.createTopics({ topics: [{ topic: topics[0] }], waitForLeaders: false }), false, "created twice");
        await until("the topics are listed", async () => {
            const listed = await admin.listTopics();
            return topics.every((topic) => listed.includes(topic));
        });
        await admin.deleteTopics({ topics });
        await until("the topics are gone", async () => {
            const left = await admin.listTopics();
            return !topics.some((topic) => left.includes(topic));
        });
        await refused(admin.deleteTopics({ topics: [topics[0]] }), "UNKNOWN_TOPIC_OR_PARTITION");
    });
});

test("validates a topic without creating it", async () => {
    const topic = unique("validated");
    await withAdmin(async (admin) => {
        assert.equal(await admin.createTopics({ topics: [{ topic }], validateOnly: true, waitForLeaders: false }), true);
        assert.ok(!(await admin.listTopics()).includes(topic));
    });
});

test("refuses topics that one broker cannot have", async () => {
    await withAdmin(async (admin) => {
        const create = (settings) => admin.createTopics({ topics: [{ topic: unique("refused"), ...settings }] });
        await refused(create({ replicationFactor: 2 }), "INVALID_REPLICATION_FACTOR");
        await refused(create({ numPartitions: 0 }), "INVALID_PARTITIONS");
        await refused(create({ configEntries: [{ name: "no.such.config", value: "1" }] }), "INVALID_CONFIG");
        await refused(create({ configEntries: [{ name: "retention.ms", value: "soon" }] }), "INVALID_CONFIG");
        await refused(create({ topic: "no spaces" }), "INVALID_TOPIC_EXCEPTION");
    });
});

test("describes topics and adds partitions", async () => {
    const topic = await topicOf("grown", 2);
    await withAdmin(async (admin) => {
        const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions;
        const before = await partitions();
        assert.deepEqual(before.map(({ partitionId }) => partitionId).sort(), [0, 1]);
        for (const { partitionErrorCode, leader, replicas, isr } of before) {
            assert.deepEqual([partitionErrorCode, replicas, isr], [0, [leader], [leader]]);
        }
        await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] });
        await until("five partitions", async () => (await partitions()).length === 5);
        await refused(admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }), "INVALID_PARTITIONS");
        await sendNumbers(topic, 0, 3, 4);
        assert.deepEqual(texts(await read(topic, 3)), numbers(0, 3));
    });
});

test("shows and changes the configs of a topic", async () => {
    const topic = await topicOf("configured", 1, { "retention.ms": "1000000" });
    await withAdmin(async (admin) => {
        const configs = async (configNames) => {
            const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configNames }];
            const { resources: [resource] } = await admin.describeConfigs({ resources, includeSynonyms: false });
            assert.deepEqual([resource.errorCode, resource.resourceName], [0, topic]);
            return Object.fromEntries(resource.configEntries.map(({ configName, configValue }) => [configName, configValue]));
        };
        assert.deepEqual(await configs(["retention.ms", "cleanup.policy"]), { "retention.ms": "1000000", "cleanup.policy": "delete" });
        assert.ok(Object.keys(await configs(undefined)).length > 20);
        const change = (name, value) => {
            const resources = [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name, value }] }];
            return admin.alterConfigs({ validateOnly: false, resources });
        };
        await change("cleanup.policy", "compact");
        // AlterConfigs replaces all configs.
        await until("the change", async () => (await configs(["cleanup.policy"]))["cleanup.policy"] === "compact");
        assert.deepEqual(await configs(["retention.ms"]), { "retention.ms": "604800000" });
        await refused(change("no.such.config", "1"), "INVALID_CONFIG");
    });
});

test("finds offsets, also by time", async () => {
    const topic = await topicOf("offsets", 2);
    const messages = numbers(0, 10).map((value) => ({ partition: 0, value, timestamp: String(1000 + Number(value) * 100) }));
    await withProducer((producer) => producer.send({ topic, messages }));
    await withAdmin(async (admin) => {
        const byPartition = (found) => found.sort((a, b) => a.partition - b.partition);
        assert.deepEqual(byPartition(await admin.fetchTopicOffsets(topic)), [
            { partition: 0, offset: "10", high: "10", low: "0" },
            { partition: 1, offset: "0", high: "0", low: "0" },
        ]);
        const at = async (time) => byPartition(await admin.fetchTopicOffsetsByTimestamp(topic, time)).map(({ offset }) => offset);
        assert.deepEqual(await at(0), ["0", "0"]);
        assert.deepEqual(await at(1300), ["3", "0"]);
        assert.deepEqual(await at(1350), ["4", "0"]);
        assert.deepEqual(await at(5000), ["10", "0"]);
    });
});

test("sets, resets and fetches the offsets of a group", async () => {
    const [topic, groupId] = [await topicOf("set", 2), unique("set")];
    for (const partition of [0, 1]) await sendNumbers(topic, 0, 10, partition);
    await withAdmin(async (admin) => {
        const fetched = async () => {
            const [{ partitions }] = await lasting(() => admin.fetchOffsets({ groupId, topics: [topic] }));
            return partitions.sort((a, b) => a.partition - b.partition).map(({ offset }) => offset);
        };
        assert.deepEqual(await fetched(), ["-1", "-1"]);
        await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: "4" }, { partition: 1, offset: "8" }] });
        assert.deepEqual(await fetched(), ["4", "8"]);
        await admin.resetOffsets({ groupId, topic, earliest: true });
        const [resolved] = await admin.fetchOffsets({ groupId, topics: [topic], resolveOffsets: true });
        assert.deepEqual(resolved.partitions.map(({ offset }) => offset), ["0", "0"]);
    });
    assert.equal((await read(topic, 20, { groupId })).length, 20);
});

test("deletes records", async () => {
    const topic = await topicOf("shortened");
    await sendNumbers(topic, 0, 10);
    await withAdmin(async (admin) => {
        assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: "10", high: "10", low: "0" }]);
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "6" }] });
        assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: "10", high: "10", low: "6" }]);
        assert.deepEqual(texts(await read(topic, 4)), numbers(6, 10));
        await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: "-1" }] });
        assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: "10", high: "10", low: "10" }]);
    });
});

test("describes the cluster", async () => {
    await withAdmin(async (admin) => {
        const { brokers, controller, clusterId } = await admin.describeCluster();
        assert.equal(brokers.length, 1);
        assert.equal(`${brokers[0].host}:${brokers[0].port}`, process.env.KAFKA.replace("localhost", "127.0.0.1"));
        assert.equal(controller, brokers[0].nodeId);
        assert.ok(clusterId.length > 0);
        assert.deepEqual(await admin.listPartitionReassignments({}), { topics: [] });
    });
});

test("refuses ACLs without an authorizer", async () => {
    await withAdmin(async (admin) => {
        const { ANY } = AclResourceTypes;
        const every = {
            resourceType: ANY, resourceName: "any", resourcePatternType: ResourcePatternTypes.ANY,
            principal: "User:any", host: "*", operation: AclOperationTypes.ANY, permissionType: AclPermissionTypes.ANY,
        };
        await refused(admin.describeAcls(every), "SECURITY_DISABLED");
    });
});
