//! Starting what was made.

use super::record::{Condition, read_spec};
use super::{Readiness, Runtime};
use crate::hook;
use crate::init::{Channel, Message};
use berth_oci::{Error, Result};
use oci_spec::runtime::ContainerState;
use std::ffi::OsStr;

/// What there is to say and to do once a program runs.
#[derive(Debug)]
pub struct Started {
    /// What poststart hooks complained about: by then it runs, and goes on.
    pub complaints: Vec<String>,
    /// Where it will say that it is ready, if it is to.
    pub readiness: Option<Readiness>,
}

impl Runtime {
    /// Lets the container's program run; an error says why it could not. `manager` is the address of a service manager
    /// that is to know when the program is ready.
    pub fn start(&self, id: &str, manager: Option<&OsStr>) -> Result<Started> {
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
        let readiness = Readiness::of(&place, manager)?;
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
        let complaints =
            hook::run_all("poststart", hooks, &record.subject.state(ContainerState::Running, pid));
        Ok(Started { complaints, readiness })
    }

    /// Waits until the program has said that it is ready, or has ended, and tells the service manager.
    pub fn tell_when_ready(&self, id: &str, readiness: Readiness) -> Result<()> {
        let (_, record) = self.load(id)?;
        match (record.first, record.process()?) {
            (Some(first), Some(process)) => readiness.wait(first.pid, &process),
            _ => Ok(()),
        }
    }
}
