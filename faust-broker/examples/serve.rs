//! Runs a broker until the process is killed: `serve [PORT [DIRECTORY [NAME=VALUE..]]]`, with the configs of the broker.
#![allow(clippy::print_stdout, reason = "the example prints its address")]

use faust_broker::{Broker, BrokerConfig, Port, Storage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(Port::Prefer(9092)), |port| port.parse().map(Port::Exact))?;
    let storage = arguments.next().map_or(Storage::Memory, |directory| Storage::Directory(directory.into()));
    let mut config = BrokerConfig::new(storage, port);
    for setting in arguments {
        let (name, value) = setting.split_once('=').ok_or_else(|| format!("`{setting}` is not NAME=VALUE"))?;
        config = config.with_config(name, value);
    }
    let server = Broker::start_with(config)?;
    println!("bootstrap.servers={}", server.bootstrap());
    loop {
        std::thread::park();
    }
}
