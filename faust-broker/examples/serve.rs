//! Runs a broker until the process is killed: `serve [PORT [DIRECTORY]]`.
#![allow(clippy::print_stdout, reason = "the example prints its address")]

use faust_broker::{Broker, BrokerConfig, Port, Storage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(Port::Prefer(9092)), |port| port.parse().map(Port::Exact))?;
    let storage = arguments.next().map_or(Storage::Memory, |directory| Storage::Directory(directory.into()));
    let server = Broker::start_with(BrokerConfig::new(storage, port))?;
    println!("bootstrap.servers={}", server.bootstrap());
    loop {
        std::thread::park();
    }
}
