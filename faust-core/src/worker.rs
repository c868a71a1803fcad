//! The worker: joins the group, runs the tasks of its partitions, commits, and drains on shutdown.

pub(super) mod unseen_log;
mod options;
mod status;
mod shared;
mod group;
mod commit;
mod drain;
mod upkeep;
mod watch;
pub(super) mod placement;
mod standby;
mod view;
mod pace;
mod control;
mod assignment;
mod handle;

pub(crate) use self::handle::Parts;
pub use self::handle::Worker;
pub use self::options::WorkerOptions;
pub use self::status::{Description, StandbyStatus, Status};
pub use self::view::{TableView, WindowedView};
