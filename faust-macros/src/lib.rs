//! faust-macros
