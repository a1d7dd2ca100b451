//! The kernel's words that rustix does not speak, one small file a topic.
//!
//! Here: thin safe functions over system calls. Not here: any decision, any default, logging, OCI words.
//! `unsafe` lives in this crate and nowhere else, each block with the reason why it is sound.

pub mod netlink;
pub mod netns;
