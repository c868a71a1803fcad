//! The program `chaos`: brokers, a feeder, workers, faults from a seed, and the verification.

mod say;
mod cluster;
mod event;
mod feeder;
mod group;
mod journal;
mod proxy;
mod watch;
mod workers;
mod figures;
mod trial;
mod rounds;
mod scenario;
mod command;

pub(crate) use self::command::main;
