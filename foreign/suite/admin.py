"""Admin tools and libraries: the broker describes itself as a single node without an authorizer."""

import json
import tempfile
from functools import partial

import confluent_kafka.admin
import kafka
import kafka.admin

from .tools import PATIENCE, java


def checks(broker, programs):
    yield partial(broker_configs, broker)
    yield partial(log_dirs, broker)
    yield partial(quorum, broker)
    yield partial(elections, broker)
    yield partial(placement, broker)
    yield partial(version_and_loggers, broker)
    yield partial(nothing_to_list, broker)
    yield partial(access_rights, broker)
    yield partial(confluent, broker)


def create(broker, topic):
    java(broker, "topics", "--create", "--topic", topic, "--partitions", "2")


def broker_configs(broker):
    """Java's ConfigCommand shows the configs of the broker and changes the default of topics."""
    create(broker, "admin.configs")
    all_brokers, topic = ["--entity-type", "brokers", "--entity-default"], ["--entity-type", "topics", "--entity-name"]
    shown = java(broker, "configs", "--entity-type", "brokers", "--entity-name", "1", "--describe", "--all")
    assert "log.retention.hours=168" in shown and "group.min.session.timeout.ms=6000" in shown, shown
    java(broker, "configs", *all_brokers, "--alter", "--add-config", "log.retention.ms=86400001")
    shown = java(broker, "configs", *all_brokers, "--describe")
    assert "log.retention.ms=86400001" in shown, shown
    shown = java(broker, "configs", *topic, "admin.configs", "--describe", "--all")
    assert "retention.ms=86400001" in shown and "DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=86400001" in shown, shown
    java(broker, "configs", *all_brokers, "--alter", "--delete-config", "log.retention.ms")
    assert "log.retention.ms" not in java(broker, "configs", *all_brokers, "--describe")
    refused(broker, "InvalidRequestException", "configs", *all_brokers, "--alter", "--add-config", "num.partitions=3")


def log_dirs(broker):
    """Java's LogDirsCommand shows the size of each partition."""
    create(broker, "admin.dirs")
    shown = java(broker, "log-dirs", "--describe", "--topic-list", "admin.dirs")
    assert shown.count('"partition":"admin.dirs-') == 2 and '"error":null' in shown, shown


def quorum(broker):
    """Java's MetadataQuorumCommand shows one voter, the leader."""
    shown = java(broker, "quorum", "describe", "--status")
    fields = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    assert fields["LeaderId"].strip() == "1" and fields["MaxFollowerLag"].strip() == "0", shown


def elections(broker):
    """Java's LeaderElectionCommand finds that every partition has its leader."""
    create(broker, "admin.elections")
    one = ["--election-type", "preferred", "--topic", "admin.elections", "--partition", "0"]
    shown = java(broker, "elections", *one)
    assert "Valid replica already elected for partitions admin.elections-0" in shown, shown
    java(broker, "elections", "--election-type", "preferred", "--all-topic-partitions")


def placement(broker):
    """Java's tools place replicas on the only node, and on no other."""
    java(broker, "topics", "--create", "--topic", "admin.placed", "--replica-assignment", "1,1")
    refused(broker, "InvalidReplicaAssignmentException", "topics", "--create", "--topic", "admin.other", "--replica-assignment", "2")
    more = ["topics", "--alter", "--topic", "admin.placed", "--partitions", "3", "--replica-assignment"]
    refused(broker, "InvalidReplicaAssignmentException", *more, "1,1,2")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
        moves = [{"topic": "admin.placed", "partition": 0, "replicas": [1]}]
        json.dump({"version": 1, "partitions": moves}, plan)
        plan.flush()
        shown = java(broker, "reassignments", "--reassignment-json-file", plan.name, "--execute")
    assert "Successfully started partition reassignment for admin.placed-0" in shown, shown


def version_and_loggers(broker):
    """Java's tools show the version of the cluster and the root logger, and change the threads of compaction."""
    shown = java(broker, "features", "describe")
    assert any("metadata.version" in line and "FinalizedVersionLevel: 4.3" in line for line in shown.splitlines()), shown
    node = ["--entity-name", "1"]
    shown = java(broker, "configs", "--entity-type", "broker-loggers", *node, "--describe")
    assert "root=" in shown, shown
    java(broker, "configs", "--entity-type", "brokers", *node, "--alter", "--add-config", "log.cleaner.threads=2")
    shown = java(broker, "configs", "--entity-type", "brokers", *node, "--describe")
    assert "log.cleaner.threads=2" in shown, shown


def nothing_to_list(broker):
    """Java's tools list no reassignments, no transactions and no subscriptions of client metrics."""
    shown = java(broker, "reassignments", "--list")
    assert "No partition reassignments found" in shown, shown
    assert len(java(broker, "transactions", "list").splitlines()) <= 1
    assert java(broker, "client-metrics", "--list").strip() == ""


def access_rights(broker):
    """Java's AclCommand and kafka-python are told that there is no authorizer."""
    refused(broker, "SecurityDisabledException", "acls", "--list")
    client = kafka.KafkaAdminClient(bootstrap_servers=broker)
    every = kafka.admin.ACLFilter(
        principal=None,
        host=None,
        operation=kafka.admin.ACLOperation.ANY,
        permission_type=kafka.admin.ACLPermissionType.ANY,
        resource_pattern=kafka.admin.ResourcePatternFilter(
            kafka.admin.ResourceType.ANY, None, kafka.admin.ACLResourcePatternType.ANY
        ),
    )
    try:
        found, error = client.describe_acls(every)
    except kafka.errors.SecurityDisabledError:
        pass
    else:
        assert error is kafka.errors.SecurityDisabledError, (found, error)
    finally:
        client.close()


def confluent(broker):
    """The AdminClient of confluent-kafka describes the cluster, its topics, and users without credentials."""
    client = confluent_kafka.admin.AdminClient({"bootstrap.servers": broker})
    create(broker, "admin.confluent")
    cluster = client.describe_cluster(include_authorized_operations=True, request_timeout=PATIENCE).result()
    assert [node.id for node in cluster.nodes] == [1] and len(cluster.authorized_operations) == 7, cluster
    names = confluent_kafka.TopicCollection(["admin.confluent"])
    described = client.describe_topics(names, include_authorized_operations=True, request_timeout=PATIENCE)
    topic = described["admin.confluent"].result()
    assert len(topic.partitions) == 2 and len(topic.authorized_operations) == 8, topic
    users = client.describe_user_scram_credentials(request_timeout=PATIENCE).result()
    assert users == {}, users


def refused(broker, reason, tool, *arguments):
    """Runs a tool that must fail for this reason."""
    try:
        shown = java(broker, tool, *arguments)
    except RuntimeError as error:
        shown = str(error)
    assert reason.lower() in shown.lower(), shown
