"""Kafka's console tools work: topics, groups, offsets, configs."""

from functools import partial

from .clients import assert_same
from .tools import PATIENCE, feed_console, java


def checks(broker, programs):
    yield partial(topics, broker)
    for protocol in ("classic", "consumer"):
        yield partial(groups, protocol, broker)
    yield partial(special_offsets, broker)
    yield partial(group_configs, broker)
    yield partial(configs, broker)


def topics(broker):
    """Java's TopicCommand creates, describes, lists and deletes topics."""
    name = "console.topic"
    java(broker, "topics", "--create", "--topic", name, "--partitions", "3", "--config", "retention.ms=86400000")
    described = java(broker, "topics", "--describe", "--topic", name)
    assert "PartitionCount: 3" in described and "retention.ms=86400000" in described, described
    assert described.count("\tLeader: ") == 3, described
    assert name in java(broker, "topics", "--list").split()
    try:
        java(broker, "topics", "--create", "--topic", name)
    except RuntimeError as error:
        assert "already exists" in str(error), error
    else:
        raise AssertionError("a topic was created twice")
    java(broker, "topics", "--delete", "--topic", name)
    assert name not in java(broker, "topics", "--list").split()


def groups(protocol, broker):
    """Java's console consumer resumes at its committed offset, and its group ({} protocol) can be listed, described, reset and deleted."""
    topic, group = f"console.groups.{protocol}", f"console-group-{protocol}"
    java(broker, "topics", "--create", "--topic", topic, "--partitions", "1")
    messages = [(f"k{n}", f"v{n}") for n in range(30)]
    feed_console(broker, topic, messages)
    read = []
    for count in (10, 20):
        options = ["--group", group, "--from-beginning", "--max-messages", str(count), "--timeout-ms", str(PATIENCE * 1000)]
        options += ["--command-property", f"group.protocol={protocol}"]
        read += java(broker, "consumer", "--topic", topic, *options).split()
    assert_same("messages read by the group", read, [value for _, value in messages])
    assert group in java(broker, "groups", "--list").split()
    listed = [line.split() for line in java(broker, "groups", "--list", "--type", protocol, "--state").splitlines()]
    assert [group, protocol.capitalize(), "Empty"] in listed, listed
    rows = [line.split() for line in java(broker, "groups", "--describe", "--group", group).splitlines()]
    assert [group, topic, "0", "30", "30", "0"] in [row[:6] for row in rows], rows
    java(broker, "groups", "--reset-offsets", "--to-earliest", "--group", group, "--topic", topic, "--execute")
    rows = [line.split() for line in java(broker, "groups", "--describe", "--group", group).splitlines()]
    assert [group, topic, "0", "0", "30", "30"] in [row[:6] for row in rows], rows
    assert f"{topic}:0:30" in java(broker, "offsets", "--topic", topic).split()
    java(broker, "groups", "--delete", "--group", group)
    assert group not in java(broker, "groups", "--list").split()


def special_offsets(broker):
    """Java's GetOffsetShell finds the offsets of the special timestamps, and none in tiered storage."""
    topic = "console.offsets"
    java(broker, "topics", "--create", "--topic", topic, "--partitions", "1")
    feed_console(broker, topic, [("k", f"v{n}") for n in range(5)])
    found = {"earliest": "0", "latest": "5", "earliest-local": "0", "latest-tiered": None, "earliest-pending-upload": None}
    for time, offset in found.items():
        shown = java(broker, "offsets", "--topic", topic, "--time", time).split()
        assert shown == ([f"{topic}:0:{offset}"] if offset else []), (time, shown)


def group_configs(broker):
    """Java's ConfigCommand changes the configuration of a group and shows it."""
    entity = ["--entity-type", "groups", "--entity-name", "console-configured"]
    java(broker, "configs", *entity, "--alter", "--add-config", "consumer.session.timeout.ms=50000")
    shown = java(broker, "configs", *entity, "--describe")
    assert "consumer.session.timeout.ms=50000" in shown, shown


def configs(broker):
    """Java's ConfigCommand changes the configuration of a topic and shows it."""
    name = "console.configs"
    java(broker, "topics", "--create", "--topic", name, "--partitions", "1")
    entity = ["--entity-type", "topics", "--entity-name", name]
    java(broker, "configs", *entity, "--alter", "--add-config", "cleanup.policy=compact")
    shown = java(broker, "configs", *entity, "--describe")
    assert "cleanup.policy=compact" in shown, shown
