//! Netlink: messages as bytes, and a blocking socket that sends a batch and says which message was refused.
//!
//! Here: [`Message`] (header, attributes, nests), [`attributes`] (reading them), [`Socket`]. Not here: any
//! message's meaning. Invariant: what comes back from [`Socket::transact`] belongs to this very batch, whatever
//! else waits in the socket.

mod message;
mod socket;

pub use message::{Message, Reply, attribute, attributes};
pub use socket::{Protocol, Refused, Socket};
