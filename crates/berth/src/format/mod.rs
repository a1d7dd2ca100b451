//! How things look: templates, tables, sizes and times.
//!
//! Not here: what is shown (each command), where it goes ([`crate::terminal`]). Invariant: pure, text in, text out.

pub(crate) mod human;
pub(crate) mod table;
pub(crate) mod template;
pub(crate) mod time;
