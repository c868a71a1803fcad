//! A method as an agent.
#![allow(unused)]

use faust::prelude::*;

struct Counter;

impl Counter {
    #[agent(topic = "clicks")]
    async fn count(self, _clicks: Stream<String>) {}
}

fn main() {}
