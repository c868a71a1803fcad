//! The committed records of a read.

use std::collections::HashSet;

use crate::core::ErrorCode;
use crate::core::batch::Header;
use crate::core::log::Read;
use crate::core::records::marker::{self, Outcome};
use crate::core::records::{Record, decode};

impl Read {
    /// Returns the batches of a read of committed records, as a consumer sees them: each with its records, none if they were aborted or
    /// it is a marker, and its last offset.
    ///
    /// # Errors
    /// See [`decode`].
    pub fn committed(self) -> Result<Vec<(Vec<Record>, i64)>, ErrorCode> {
        let mut listed = self.aborted.into_iter().peekable();
        let (mut aborted, mut batches) = (HashSet::new(), Vec::new());
        for mut rest in self.batches {
            while let Some(header) = Header::read(&rest) {
                if rest.len() < header.size {
                    return Err(ErrorCode::CorruptMessage);
                }
                let batch = rest.split_to(header.size);
                while let Some(next) = listed.next_if(|next| next.first_offset <= header.last_offset()) {
                    aborted.insert(next.producer_id);
                }
                if header.is_control() && marker::outcome(&header, &batch) == Some(Outcome::Abort) {
                    aborted.remove(&header.producer_id);
                }
                let is_aborted = header.is_transactional() && aborted.contains(&header.producer_id);
                let records = if header.is_control() || is_aborted { Vec::new() } else { decode(&batch)? };
                batches.push((records, header.last_offset()));
            }
        }
        Ok(batches)
    }
}
