//! The app on this machine: its embedded broker, the directories of its workers, and the state they keep.
//!
//! Two files in the broker's directory control an embedded broker. The process that holds the lock on `host.lock` is the
//! host. Only the host writes `address.json`, in which the other processes of the app, the guests, find the broker.
//! Before a worker shuts down, it records this in the file, so that its guests shut down too. A killed worker leaves the
//! file behind, and so does the command `broker`; the guests then wait for the next host, as they wait for any
//! unavailable broker.

mod host_kind;
mod broker_options;
#[cfg(feature = "embedded")]
mod address;
#[cfg(feature = "embedded")]
mod probe;
mod worker_dir;
#[cfg(feature = "embedded")]
mod embedded;
#[cfg(not(feature = "embedded"))]
mod no_embedded;
mod connection;
mod kafka;
mod state;

pub use self::broker_options::BrokerOptions;
pub use self::connection::Connection;
pub use self::host_kind::HostKind;
pub use self::state::{LocalState, version_of_group, version_of_topic};
pub use self::worker_dir::WorkerDir;
