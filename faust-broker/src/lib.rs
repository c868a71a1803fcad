//! faust-broker
