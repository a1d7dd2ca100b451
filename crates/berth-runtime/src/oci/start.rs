//! Starting what was made.

use super::Runtime;
use super::record::{Condition, read_spec};
use crate::hook;
use crate::init::{Channel, Message};
use berth_oci::{Error, Result};
use oci_spec::runtime::ContainerState;

impl Runtime {
    /// Lets the container's program run; an error says why it could not. Answers what poststart hooks complained about:
    /// by then it runs, and goes on.
    pub fn start(&self, id: &str) -> Result<Vec<String>> {
        let (place, record) = self.load(id)?;
        let refused = |condition: Condition| {
            Error::conflict(match condition {
                Condition::Stopped => "cannot start a container that has stopped".to_owned(),
                Condition::Creating => "cannot start a container that is still being created".to_owned(),
                _ => "cannot start an already running container".to_owned(),
            })
        };
        let condition = record.condition(&place)?;
        let Some(socket) = Some(place.open_gate()?).filter(|_| condition == Condition::Created).flatten()
        else {
            return Err(refused(condition));
        };
        let channel = Channel::of(socket);
        channel.go()?;
        match channel.receive()? {
            Some((Message::Failed(fault), _)) => return Err(fault.into()),
            Some(_) => return Err(Error::corrupt("the container's process said something unexpected")),
            // It has closed the channel: its program runs.
            None => {}
        }
        let spec = read_spec(&place.config())?;
        let hooks = spec.hooks().as_ref().and_then(|h| h.poststart().as_deref()).unwrap_or_default();
        let pid = record.first.map(|first| first.pid);
        Ok(hook::run_all("poststart", hooks, &record.subject.state(ContainerState::Running, pid)))
    }
}
