//! The foundation of all scenarios: a cluster, messages as bytes, processes, and waiting for a condition.

mod cluster;
mod direct;
mod message;
mod process;
mod wait;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::direct::End;
pub(crate) use self::message::Message;
pub(crate) use self::process::{Process, Program};
pub(crate) use self::wait::{LONG, wait_for};
