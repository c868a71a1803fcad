//! A custom codec, registered by one attribute.
#![deny(warnings)]

use faust::{BoxError, Codec, codec};

#[codec(name = "rot13")]
struct Rot13;

impl Codec for Rot13 {
    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>, BoxError> {
        self.decode(&bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
        Ok(bytes.iter().map(|byte| byte ^ 1).collect())
    }
}

fn main() {}
