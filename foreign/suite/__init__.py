"""Foreign clients beside Faust for Rust, on the embedded broker and on Apache Kafka."""
