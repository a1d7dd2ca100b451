//! What a layer becomes, looked at through the kernel and through programs that others wrote.

mod meaning;
pub(crate) mod support;
