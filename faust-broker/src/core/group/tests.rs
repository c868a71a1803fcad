//! Scenarios and laws of group membership.
