//! A new project from the template: the check of its name, the source of its dependency, and its files.

mod name;
mod source;
mod template;
mod generate;

pub(crate) use generate::generate;
pub(crate) use source::FaustSource;
