//! The foundation of all scenarios: a cluster, an unkind network in front of it, messages as bytes, processes, random
//! moments, and waiting for a condition.

mod cluster;
mod direct;
mod message;
mod process;
mod proxy;
mod random;
mod wait;

pub(crate) use self::cluster::Cluster;
pub(crate) use self::direct::End;
pub(crate) use self::message::Message;
pub(crate) use self::process::{Ended, Process, Program};
pub(crate) use self::proxy::Proxy;
pub(crate) use self::random::Random;
pub(crate) use self::wait::{LONG, wait_for};
