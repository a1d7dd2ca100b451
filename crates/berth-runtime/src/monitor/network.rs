//! The container's networks: on to them while its first process is preparing itself, on and off while it runs.
//!
//! Not here: what a network is (`net/`), how names are answered (`dns/`). Invariant: `/etc/hosts` names the container
//! by every address it has, and no other.

use super::{CONTAINER, Monitor};
use crate::dns;
use crate::ended::OfProcess;
use crate::init::take_descriptors;
use crate::net::{self, Joined, NetworkPlan, Place, PortMapping};
use crate::relay::DESCRIPTORS;
use crate::state::Status;
use berth_oci::{AtPath, Error, Kind, Result};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

impl Monitor {
    /// Does nothing for a container without networks.
    pub(super) fn connect(&mut self) -> Result<()> {
        if self.bundle.networks.is_empty() {
            return Ok(());
        }
        self.forget_hosts()?;
        self.name_linked().map_err(not_the_program)?;
        let plans = self.bundle.networks.clone();
        let (namespace, pid) = match self.namespace() {
            // The process has ended already. What it has said about that is heard next.
            Err(error) if error.kind() == Kind::Conflict => return Ok(()),
            found => found?,
        };
        let leads_out = [true, false].map(|ipv4| net::leader(&plans, ipv4));
        for (number, plan) in plans.iter().enumerate() {
            let leads_out = (leads_out[0] == Some(number), leads_out[1] == Some(number));
            let place = Place { namespace: namespace.as_fd(), pid, number, leads_out };
            self.add(plan, place).map_err(not_the_program)?;
        }
        self.answer_for_names(namespace).map_err(not_the_program)
    }

    /// On to a further network.
    pub(super) fn join(&mut self, plan: &NetworkPlan) -> Result<()> {
        if !self.is_there()? {
            self.bundle.networks.push(plan.clone());
            return Ok(());
        }
        let network = &plan.network;
        if self.state.networks.iter().any(|joined| joined.network == network.name) {
            return Err(Error::denied(format!(
                "endpoint with name {} already exists in network {}",
                plan.endpoint.name, network.name
            )));
        }
        if self.home.is_none() {
            self.home = Some(network.home.clone());
            self.recovery().write(&self.bundle.run_dir)?;
        }
        let (namespace, pid) = self.namespace()?;
        let prefix = network.interface_prefix.as_deref().unwrap_or("eth");
        let taken = |number: &usize| {
            let name = format!("{prefix}{number}");
            self.state.networks.iter().any(|joined| joined.inside == name)
        };
        let number = (0..).find(|number| !taken(number)).expect("there are more numbers than networks");
        let place = Place { namespace: namespace.as_fd(), pid, number, leads_out: (false, false) };
        self.add(plan, place)?;
        self.bundle.networks.push(plan.clone());
        self.lead_out(&namespace)?;
        self.answer_for_names(namespace)?;
        self.save()
    }

    /// Off the network of this name.
    pub(super) fn part(&mut self, network: &str) -> Result<()> {
        if !self.is_there()? {
            let plans = &mut self.bundle.networks;
            let left = plans.extract_if(.., |plan| plan.network.name == network).next();
            let ports = left.map_or_else(Vec::new, |plan| plan.endpoint.ports);
            let leading = net::leader(plans, true).or_else(|| net::leader(plans, false));
            if let Some(number) = leading.filter(|_| !ports.is_empty()) {
                plans[number].endpoint.ports = ports;
            }
            return Ok(());
        }
        let at = self.state.networks.iter().position(|joined| joined.network == network);
        let (Some(at), Some(home)) = (at, self.home.clone()) else {
            return Err(Error::conflict(format!(
                "container {} is not connected to network {network}",
                self.bundle.id
            )));
        };
        let (namespace, _) = self.namespace()?;
        net::unplug(&home, &self.bundle.id, &self.state.networks[at], namespace.as_fd())?;
        let joined = self.state.networks.remove(at);
        let plan = self.bundle.networks.extract_if(.., |plan| plan.network.name == network).next();
        self.held_ports.remove(network);
        self.relays.leave(network);
        self.remove_from_hosts(&joined)?;
        self.tell_network("disconnect", &joined);
        self.lead_out(&namespace)?;
        self.publish_elsewhere(plan.map_or_else(Vec::new, |plan| plan.endpoint.ports))?;
        if let Some(names) = &mut self.names {
            names.set_networks(&self.state.networks);
        }
        self.save()
    }

    /// Between two runs there is nothing to connect yet: the next one will be on it, or not.
    fn is_there(&self) -> Result<bool> {
        match self.state.status {
            Status::Running | Status::Paused => Ok(true),
            Status::Restarting => Ok(false),
            Status::Created | Status::Exited => Err(Error::conflict("the container is not running")),
        }
    }

    fn namespace(&self) -> Result<(OwnedFd, i32)> {
        let process =
            self.processes.get(&CONTAINER).ok_or_else(|| Error::conflict("the container is not running"))?;
        let path = format!("/proc/{}/ns/net", process.pid);
        Ok((File::open(&path).of_process(&path)?.into(), process.pid))
    }

    fn add(&mut self, plan: &NetworkPlan, place: Place<'_>) -> Result<()> {
        let attached = net::setup(plan, place)?;
        self.warnings.extend(attached.notes);
        self.held_ports.insert(plan.network.name.clone(), attached.held);
        if !attached.served.is_empty() {
            take_descriptors(DESCRIPTORS)?;
        }
        self.relays.reach_from(plan.network.home.namespace()?);
        self.relays.serve(&plan.network.name, attached.served)?;
        self.add_to_hosts(&attached.joined)?;
        self.tell_network("connect", &attached.joined);
        self.state.networks.push(attached.joined);
        Ok(())
    }

    /// Ports whose network was left lead in by the one that leads out now.
    fn publish_elsewhere(&mut self, ports: Vec<PortMapping>) -> Result<()> {
        let networks = &self.state.networks;
        let leading = net::way_out(networks, true).or_else(|| net::way_out(networks, false));
        let Some(name) = leading.map(|(joined, _)| joined.network.clone()).filter(|_| !ports.is_empty())
        else {
            return Ok(());
        };
        let plan = self.bundle.networks.iter_mut().find(|plan| plan.network.name == name);
        let joined = self.state.networks.iter_mut().find(|joined| joined.network == name);
        let (Some(plan), Some(joined)) = (plan, joined) else { return Ok(()) };
        plan.endpoint.ports = ports;
        let (held, served) = net::publish(plan, joined)?;
        self.held_ports.insert(name.clone(), held);
        self.relays.serve(&name, served)
    }

    /// Where packets for the world leave, after networks came or went.
    fn lead_out(&self, namespace: &OwnedFd) -> Result<()> {
        for ipv4 in [true, false] {
            if let Some((joined, gateway)) = net::way_out(&self.state.networks, ipv4) {
                net::lead_out(joined, gateway, namespace.as_fd())?;
            }
        }
        Ok(())
    }

    /// From the first network on whose containers have names.
    fn answer_for_names(&mut self, namespace: OwnedFd) -> Result<()> {
        let (Some(plan), Some(home)) = (&self.bundle.names, &self.home) else { return Ok(()) };
        if !self.state.networks.iter().any(|joined| joined.names) {
            return Ok(());
        }
        if self.names.is_none() {
            self.names = Some(dns::Server::open(namespace, home, plan.upstreams.clone())?);
            // In place: a file that is bound into the container must stay the same file.
            fs::write(&plan.resolv_conf, &plan.text).at(&plan.resolv_conf)?;
        }
        if let Some(names) = &mut self.names {
            names.set_networks(&self.state.networks);
        }
        Ok(())
    }

    fn add_to_hosts(&self, joined: &Joined) -> Result<()> {
        let spec = &self.bundle.spec;
        let (Some(path), Some(name)) = (&self.bundle.hosts, spec.hostname()) else { return Ok(()) };
        let lines = joined.hosts_lines(name, spec.domainname().as_deref().unwrap_or_default());
        let mut file = File::options().append(true).open(path).at(path)?;
        file.write_all(lines.as_bytes()).at(path)
    }

    /// A container that is started again gets its lines anew: the addresses may be others.
    fn forget_hosts(&mut self) -> Result<()> {
        let Some(path) = &self.bundle.hosts else { return Ok(()) };
        match self.hosts_length {
            Some(length) => {
                File::options().write(true).open(path).and_then(|file| file.set_len(length)).at(path)
            }
            None => {
                self.hosts_length = Some(fs::metadata(path).at(path)?.len());
                Ok(())
            }
        }
    }

    fn remove_from_hosts(&self, joined: &Joined) -> Result<()> {
        let Some(path) = &self.bundle.hosts else { return Ok(()) };
        let text = fs::read_to_string(path).at(path)?;
        let own = |line: &&str| {
            let ip = line.split('\t').next().and_then(|word| word.parse().ok());
            joined.ipv4.iter().chain(&joined.ipv6).any(|address| ip == Some(address.ip))
        };
        let kept: String = text.split_inclusive('\n').filter(|line| !own(line)).collect();
        fs::write(path, kept).at(path)
    }
}

/// "Not found" and "denied" mean the program to those who start a container; here it was something else.
fn not_the_program(error: Error) -> Error {
    match error.kind() {
        Kind::NotFound | Kind::Denied => {
            let hint = error.hint_text().map(ToOwned::to_owned);
            hint.into_iter().fold(Error::internal(error.to_string()), Error::hint)
        }
        _ => error,
    }
}
