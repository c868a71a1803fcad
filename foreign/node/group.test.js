"use strict";
// Groups of kafkajs: rebalances, members that leave or crash, assignors, descriptions, and deletion.

const assert = require("node:assert/strict");
const { spawn } = require("node:child_process");
const { test } = require("node:test");
const { AssignerProtocol } = require("kafkajs");
const { joins, kafka, lasting, numbers, reading, refused, sendNumbers, texts, topicOf, unique, until, withAdmin } = require("./support");

// Returns the partitions of the latest assignment.
const latest = (joined, topic) => [...(joined.at(-1)?.[topic] ?? [])].sort((a, b) => a - b);

const all = (members, topic) => members.flatMap(({ joined }) => latest(joined, topic)).sort((a, b) => a - b);

const states = (admin, groupId) => lasting(() => admin.describeGroups([groupId])).then(({ groups: [group] }) => group);

test("shares the partitions among the members", async () => {
    const [topic, groupId] = [await topicOf("shared", 6), unique("sharing")];
    const members = [];
    try {
        for (let count = 1; count <= 3; count++) {
            members.push(await reading(topic, { groupId, heartbeatInterval: 500 }));
            await until(`${count} members share the partitions`, () => {
                const isEven = members.every(({ joined }) => latest(joined, topic).length === 6 / count);
                return isEven && String(all(members, topic)) === "0,1,2,3,4,5";
            });
        }
        for (let partition = 0; partition < 6; partition++) await sendNumbers(topic, 0, 10, partition);
        await until("all messages", () => members.flatMap(({ messages }) => messages).length >= 60);
        for (const { joined, messages } of members) {
            const partitions = [...new Set(messages.map(({ partition }) => partition))].sort((a, b) => a - b);
            assert.deepEqual(partitions, latest(joined, topic));
            for (const partition of partitions) {
                assert.deepEqual(texts(messages.filter((message) => message.partition === partition)), numbers(0, 10));
            }
        }
    } finally {
        await Promise.all(members.map(({ consumer }) => consumer.disconnect()));
    }
});

test("continues where a member that leaves has committed", async () => {
    const [topic, groupId] = [await topicOf("left", 2), unique("leaving")];
    const one = await reading(topic, { groupId, heartbeatInterval: 500 });
    const two = await reading(topic, { groupId, heartbeatInterval: 500 });
    try {
        await until("both have a partition", () => [one, two].every(({ joined }) => latest(joined, topic).length === 1));
        for (const partition of [0, 1]) await sendNumbers(topic, 0, 10, partition);
        await until("all messages", () => one.messages.length + two.messages.length === 20);
        // A member commits when it leaves.
        await two.consumer.disconnect();
        await until("the other has both", () => latest(one.joined, topic).length === 2);
        for (const partition of [0, 1]) await sendNumbers(topic, 10, 20, partition);
        await until("the later messages", () => one.messages.length + two.messages.length >= 40);
    } finally {
        await Promise.all([one, two].map(({ consumer }) => consumer.disconnect()));
    }
    for (const partition of [0, 1]) {
        const got = [...two.messages, ...one.messages].filter((message) => message.partition === partition);
        assert.deepEqual(texts(got), numbers(0, 20));
    }
});

// A member in a process of its own, which prints its assignment.
const MEMBER = `
    const { reading } = require("./support");
    const [topic, groupId] = process.argv.slice(1);
    const settings = { groupId, sessionTimeout: 6000, heartbeatInterval: 500 };
    reading(topic, settings).then(({ joined }) => console.log(JSON.stringify(joined.at(-1))));
`;

test("takes over from a member that crashes", async () => {
    const [topic, groupId] = [await topicOf("crashed", 4), unique("crashing")];
    const child = spawn(process.execPath, ["-e", MEMBER, topic, groupId], { cwd: __dirname, stdio: ["ignore", "pipe", "inherit"] });
    let printed = "";
    child.stdout.on("data", (data) => (printed += data));
    let consumer;
    try {
        await until("the other process joins", () => printed.includes("\n"));
        const member = await reading(topic, { groupId, sessionTimeout: 6000, heartbeatInterval: 500 });
        consumer = member.consumer;
        await until("both have partitions", () => latest(member.joined, topic).length === 2);
        child.kill("SIGKILL");
        await until("the survivor has all", () => latest(member.joined, topic).length === 4);
        for (let partition = 0; partition < 4; partition++) await sendNumbers(topic, 0, 5, partition);
        await until("all messages", () => member.messages.length === 20);
    } finally {
        child.kill("SIGKILL");
        await consumer?.disconnect();
    }
});

test("uses an assignor of the application", async () => {
    const [topic, groupId] = [await topicOf("assigned", 3), unique("assigning")];
    const seen = [];
    // All partitions go to the member with the greatest user data.
    const assigner = (userData) => ({ cluster }) => ({
        name: "greatest",
        version: 1,
        async assign({ members, topics }) {
            const rank = ({ memberMetadata }) => AssignerProtocol.MemberMetadata.decode(memberMetadata).userData.toString();
            seen.push(members.map(rank).sort());
            const chosen = members.reduce((best, member) => (rank(member) > rank(best) ? member : best));
            const partitions = (topic) => cluster.findTopicPartitionMetadata(topic).map(({ partitionId }) => partitionId);
            return members.map((member) => ({
                memberId: member.memberId,
                memberAssignment: AssignerProtocol.MemberAssignment.encode({
                    version: this.version,
                    assignment: member === chosen ? Object.fromEntries(topics.map((topic) => [topic, partitions(topic)])) : {},
                    userData: Buffer.alloc(0),
                }),
            }));
        },
        protocol({ topics }) {
            const metadata = AssignerProtocol.MemberMetadata.encode({ version: this.version, topics, userData: Buffer.from(userData) });
            return { name: this.name, metadata };
        },
    });
    const settings = (userData) => ({ groupId, heartbeatInterval: 500, partitionAssigners: [assigner(userData)] });
    const one = await reading(topic, settings("b"));
    const two = await reading(topic, settings("a"));
    try {
        await until("a generation of both", () => seen.some((ranks) => String(ranks) === "a,b") && two.joined.length > 0);
        await until("all partitions at one member", () => latest(one.joined, topic).length === 3 && latest(two.joined, topic).length === 0);
        const described = await withAdmin((admin) => states(admin, groupId));
        assert.equal(described.protocol, "greatest");
    } finally {
        await Promise.all([one, two].map(({ consumer }) => consumer.disconnect()));
    }
});

test("describes and lists a group", async () => {
    const [topic, groupId] = [await topicOf("described", 2), unique("described")];
    await withAdmin(async (admin) => {
        assert.equal((await states(admin, groupId)).state, "Dead");
        const { consumer } = await reading(topic, { groupId });
        try {
            const described = await until("the group is stable", async () => {
                const found = await states(admin, groupId);
                return found.state === "Stable" && found;
            });
            assert.deepEqual(
                [described.errorCode, described.groupId, described.protocolType, described.protocol, described.members.length],
                [0, groupId, "consumer", "RoundRobinAssigner", 1],
            );
            const [member] = described.members;
            assert.equal(member.clientId, "kafkajs-tests");
            assert.ok(member.memberId.startsWith("kafkajs-tests-"), member.memberId);
            assert.match(member.clientHost, /127\.0\.0\.1/);
            assert.deepEqual(AssignerProtocol.MemberAssignment.decode(member.memberAssignment).assignment, { [topic]: [0, 1] });
            assert.deepEqual(AssignerProtocol.MemberMetadata.decode(member.memberMetadata).topics, [topic]);
            const { groups } = await admin.listGroups();
            assert.deepEqual(groups.filter((group) => group.groupId === groupId), [{ groupId, protocolType: "consumer" }]);
        } finally {
            await consumer.disconnect();
        }
    });
});

test("deletes a group only without members", async () => {
    const [topic, groupId] = [await topicOf("deleted"), unique("deleted")];
    await sendNumbers(topic, 0, 3);
    await withAdmin(async (admin) => {
        const { consumer, messages } = await reading(topic, { groupId });
        try {
            await until("all messages", () => messages.length === 3);
            await refused(admin.deleteGroups([groupId]), "NON_EMPTY_GROUP");
        } finally {
            await consumer.disconnect();
        }
        assert.equal((await states(admin, groupId)).state, "Empty");
        const [{ errorCode }] = await admin.deleteGroups([groupId]);
        assert.equal(errorCode, 0);
        assert.equal((await states(admin, groupId)).state, "Dead");
        await refused(admin.deleteGroups([groupId]), "GROUP_ID_NOT_FOUND");
    });
});

test("refuses a session timeout below the minimum", async () => {
    const topic = await topicOf("session");
    const consumer = kafka().consumer({ groupId: unique("session"), sessionTimeout: 1000, heartbeatInterval: 300, retry: { retries: 0 } });
    const crashes = [];
    consumer.on(consumer.events.CRASH, ({ payload }) => crashes.push(payload.error));
    const joined = joins(consumer);
    await consumer.connect();
    try {
        await consumer.subscribe({ topics: [topic] });
        await consumer.run({ eachMessage: async () => {} }).catch((error) => crashes.push(error));
        await until("the refusal", () => crashes.length > 0);
        assert.equal((crashes[0].cause ?? crashes[0]).type, "INVALID_SESSION_TIMEOUT");
        assert.deepEqual(joined, []);
    } finally {
        await consumer.disconnect();
    }
});
