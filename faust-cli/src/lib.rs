//! faust-cli
