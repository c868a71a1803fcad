//! Tests of hosts and guests: election, shutdown, crashes and ports.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::config::Layers;
use crate::local::connection::Connection;
use crate::local::probe;

fn settings(datadir: &Path, broker: &str) -> Settings {
    let mut layers = Layers::default();
    layers.builder("datadir", datadir.display()).builder("broker", broker).builder("embedded_port", 0);
    layers.resolve("orders").unwrap().settings
}

#[tokio::test]
async fn a_command_finds_the_broker_of_a_worker_and_never_starts_one() {
    let datadir = tempfile::tempdir().unwrap();
    let settings = settings(datadir.path(), "memory://");
    let error = Connection::find(&settings).await.unwrap_err().to_string();
    assert!(error.starts_with("no broker is running for app `orders`") && error.contains("FAUST_BROKER"), "{error}");

    let host = Connection::host(&settings, HostKind::Worker).await.unwrap();
    let found = Connection::find(&settings).await.unwrap();
    assert!(host.is_host() && !found.is_host());
    assert_eq!(host.bootstrap(), found.bootstrap());
    assert!(host.notices()[0].contains("one machine"), "{:?}", host.notices());

    host.close(None, Duration::ZERO).await.unwrap();
    assert!(Connection::find(&settings).await.is_err(), "the address was not removed");
}

#[tokio::test]
async fn one_of_several_workers_started_at_once_hosts_and_the_others_connect() {
    let datadir = tempfile::tempdir().unwrap();
    let settings = settings(datadir.path(), "memory://");
    let racers: Vec<_> = (0..8)
        .map(|_| {
            let settings = settings.clone();
            tokio::spawn(async move { Connection::host(&settings, HostKind::Worker).await.unwrap() })
        })
        .collect();
    let mut connections = Vec::new();
    for racer in racers {
        connections.push(racer.await.unwrap());
    }
    assert_eq!(connections.iter().filter(|connection| connection.is_host()).count(), 1);
    assert!(connections.iter().all(|connection| connection.bootstrap() == connections[0].bootstrap()));
}

#[tokio::test]
async fn guests_are_notified_of_the_shutdown_while_the_broker_still_runs() {
    let datadir = tempfile::tempdir().unwrap();
    let settings = settings(datadir.path(), "memory://");
    let host = Connection::host(&settings, HostKind::Worker).await.unwrap();
    let (own, other) = (WorkerDir::take(&settings.datadir).unwrap(), WorkerDir::take(&settings.datadir).unwrap());
    let guest = Connection::host(&settings, HostKind::Worker).await.unwrap();
    let bootstrap = host.bootstrap().to_owned();

    let closing = tokio::spawn(async move { host.close(Some(&own), Duration::from_secs(60)).await });
    let reason = guest.gone().await;
    assert!(reason.contains("the worker that hosts the embedded broker") && reason.contains(&bootstrap), "{reason}");
    assert!(probe::connects(&bootstrap), "the broker stopped before its guests");
    drop(other);
    closing.await.unwrap().unwrap();
    assert!(!probe::connects(&bootstrap));
}

#[tokio::test]
async fn after_a_crash_the_next_host_takes_the_same_port() {
    let datadir = tempfile::tempdir().unwrap();
    let settings = settings(datadir.path(), "memory://");
    let first = Connection::host(&settings, HostKind::Broker).await.unwrap();
    let (dir, bootstrap) = (settings.broker_dir(), first.bootstrap().to_owned());
    let address = Address::read(&dir).unwrap();
    drop(first);
    // `kill -9` leaves the address behind, but no lock.
    address.write(&dir).unwrap();
    assert!(Connection::find(&settings).await.is_err(), "an address without a host was used");
    assert_eq!(address.departure(&dir), None, "a crash is not a departure");

    let second = Connection::host(&settings, HostKind::Broker).await.unwrap();
    assert_eq!((second.bootstrap(), second.is_host()), (bootstrap.as_str(), true));
}

#[test]
fn a_port_is_kept_only_while_other_processes_may_wait_for_it() {
    let datadir = tempfile::tempdir().unwrap();
    let mut settings = settings(datadir.path(), "memory://");
    let dir = settings.broker_dir();
    std::fs::create_dir_all(&dir).unwrap();
    let left_by = |kind| Address::new("127.0.0.1:9093".to_owned(), kind).write(&dir).unwrap();
    settings.embedded_port = 9092;
    left_by(HostKind::Worker);
    assert_eq!(former_port(&settings, &dir), None);
    let guest = WorkerDir::take(&settings.datadir).unwrap();
    assert_eq!(former_port(&settings, &dir), Some(9093));
    drop(guest);
    left_by(HostKind::Broker);
    assert_eq!(former_port(&settings, &dir), Some(9093));
}

#[test]
fn a_guest_ends_when_its_host_departs_or_moves() {
    let dir = tempfile::tempdir().unwrap();
    let of = |kind| Address::new("127.0.0.1:9092".to_owned(), kind);
    let address = of(HostKind::Worker);
    assert!(address.departure(dir.path()).unwrap().contains("is shutting down"));
    assert_eq!(of(HostKind::Broker).departure(dir.path()), None);
    address.write(dir.path()).unwrap();
    assert_eq!(address.departure(dir.path()), None);
    address.clone().ending().write(dir.path()).unwrap();
    assert!(address.departure(dir.path()).unwrap().contains("is shutting down"));
    Address::new("127.0.0.1:9093".to_owned(), HostKind::Worker).write(dir.path()).unwrap();
    assert!(address.departure(dir.path()).unwrap().contains("moved from 127.0.0.1:9092 to 127.0.0.1:9093"));
}

#[tokio::test]
async fn apps_share_a_broker_by_naming_its_directory() {
    let (one, two, shared) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let url = format!("embedded://{}", shared.path().display());
    let host = Connection::host(&settings(one.path(), &url), HostKind::Worker).await.unwrap();
    let guest = Connection::host(&settings(two.path(), &url), HostKind::Worker).await.unwrap();
    assert_eq!((host.is_host(), guest.is_host(), guest.bootstrap()), (true, false, host.bootstrap()));
    assert!(host.describe().contains("data in"), "{}", host.describe());
    host.close(None, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_its_replacement() {
    let datadir = tempfile::tempdir().unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = other.local_addr().unwrap().port();
    let mut settings = settings(datadir.path(), "memory://");
    settings.embedded_port = taken;
    let host = Connection::host(&settings, HostKind::Worker).await.unwrap();
    let notice = format!("port {taken} is in use by another program: the embedded broker uses port ");
    assert!(host.notices().iter().any(|line| line.starts_with(&notice)), "{:?}", host.notices());
}

#[test]
fn the_broker_of_a_worker_accepts_the_session_timeout_of_its_app() {
    let datadir = tempfile::tempdir().unwrap();
    let mut settings = settings(datadir.path(), "memory://");
    let least = |settings: &Settings, options: &BrokerOptions| {
        broker_config(settings, options, Storage::Memory, 0).configs["group.min.session.timeout.ms"].clone()
    };
    let mut options = BrokerOptions::of_worker();
    assert_eq!(least(&settings, &options), "6000", "the default is Kafka's");
    settings.broker_session_timeout = Duration::from_secs(1);
    assert_eq!(least(&settings, &options), "1000");
    options.configs.push(("group.min.session.timeout.ms".to_owned(), "3000".to_owned()));
    assert_eq!(least(&settings, &options), "3000", "an option takes precedence");
}
