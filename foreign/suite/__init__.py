"""Interoperability tests: third-party clients and Faust for Rust, on the embedded broker and on Apache Kafka."""
