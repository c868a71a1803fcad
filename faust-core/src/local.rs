//! The app on this machine: its embedded broker, the directories of its workers, and the state they keep.
//!
//! Two files in the broker's directory control the life of an embedded broker. The process that holds the lock on
//! `host.lock` is its host; only the host writes `address.json`, where the other processes of the app find the broker. A
//! worker that shuts down marks that file first, and its guests shut down too. A killed worker leaves the file behind, as
//! the command `broker` does, and the guests wait for the next host as they would for any unavailable Kafka.

mod address;
mod probe;
mod worker_dir;
mod connection;
mod kafka;
mod state;

pub use self::address::HostKind;
pub use self::connection::Connection;
pub use self::state::{LocalState, version_of_group, version_of_topic};
pub use self::worker_dir::WorkerDir;
