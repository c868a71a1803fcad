//! faust-core
