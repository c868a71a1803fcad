//! The consent of the user to a change that cannot be taken back.

use crate::failure::Failure;
use crate::output::Output;

/// The option to skip the question.
#[derive(clap::Args, Debug)]
pub(crate) struct Consent {
    /// Go ahead without asking for confirmation
    #[arg(short, long)]
    yes: bool,
}

impl Consent {
    /// Asks the question, unless the option is given.
    ///
    /// # Errors
    /// The user has declined: `refusal` says that nothing was changed. Or the question cannot be asked.
    pub(crate) fn ask(&self, out: &Output, question: &str, refusal: &'static str) -> Result<(), Failure> {
        if self.yes || out.confirm(question)? { Ok(()) } else { Err(Failure::error(refusal)) }
    }
}
