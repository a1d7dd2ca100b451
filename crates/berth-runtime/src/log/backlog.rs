//! Messages that wait for somebody who is slow.
//!
//! Invariant: they never take more room than was said. What does not fit is not taken, as docker's ring does it: what waits
//! already is older, and is not torn.

use std::collections::VecDeque;

/// Whole messages, oldest first, and how much of the first one is gone already.
#[derive(Debug)]
pub(super) struct Backlog {
    messages: VecDeque<Vec<u8>>,
    sent: usize,
    bytes: usize,
    limit: usize,
}

/// What a message takes beside its bytes.
const FRAME: usize = size_of::<Vec<u8>>();

impl Backlog {
    pub(super) fn new(limit: usize) -> Self {
        Self { messages: VecDeque::new(), sent: 0, bytes: 0, limit }
    }

    /// Whether a message of this length would be taken. An empty one takes any.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.messages.is_empty() || self.bytes + length + FRAME <= self.limit
    }

    /// Whether it was taken.
    pub(super) fn push(&mut self, message: Vec<u8>) -> bool {
        let has_room = self.has_room(message.len());
        if has_room {
            self.bytes += message.len() + FRAME;
            self.messages.push_back(message);
        }
        has_room
    }

    /// What is left of the first one.
    pub(super) fn front(&self) -> Option<&[u8]> {
        self.messages.front().map(|message| &message[self.sent..])
    }

    /// So much more of the first one is gone.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.messages.front().is_some_and(|message| self.sent >= message.len()) {
            self.skip();
        }
    }

    /// The first one goes, whole or not.
    pub(super) fn skip(&mut self) {
        self.sent = 0;
        self.bytes -= self.messages.pop_front().map_or(0, |message| message.len() + FRAME);
        if self.messages.is_empty() {
            self.messages = VecDeque::new();
        }
    }

    /// Somebody new begins with a whole message.
    pub(super) fn restart(&mut self) {
        self.sent = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_taken() {
        let mut backlog = Backlog::new(2 * FRAME + 10);
        let mut taken = |length: usize| backlog.push(vec![0; length]);
        assert_eq!([taken(7), taken(4), taken(3), taken(0)], [true, false, true, false]);
        backlog.advance(5);
        assert_eq!(backlog.front().map(<[u8]>::len), Some(2));
        backlog.restart();
        backlog.advance(7);
        assert_eq!(backlog.front().map(<[u8]>::len), Some(3));
        backlog.skip();
        assert!(backlog.is_empty() && backlog.bytes == 0);
        assert!(backlog.push(vec![0; 100]), "an empty one takes any");
    }
}
