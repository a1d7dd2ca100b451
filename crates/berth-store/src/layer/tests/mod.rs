//! What a layer becomes, looked at through the kernel and through programs that others wrote.

mod hostile;
mod meaning;
mod oracles;
mod pipeline;
mod scale;
pub(crate) mod support;
