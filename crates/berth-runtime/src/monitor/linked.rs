//! Other containers in the container's `/etc/hosts`: `--link` on the usual network, where no names are answered.
//!
//! Not here: its own lines (see `network.rs`). Invariant: a container that is there is named by the addresses that it
//! has now, one that has gone by its last ones; lines of anybody else stay as they are.

use super::Monitor;
use crate::bundle::LinkedHost;
use crate::net::{Home, Record, peek};
use berth_oci::{AtPath, Result};
use rustix::fs::inotify;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Becomes readable when the ledger has been replaced.
#[derive(Debug)]
pub(super) struct Watch(OwnedFd);

impl Watch {
    fn over(home: &Home) -> Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let fd = inotify::init(flags).map_err(io::Error::from).at(&home.run_dir)?;
        inotify::add_watch(&fd, &home.run_dir, inotify::WatchFlags::MOVED_TO)
            .map_err(io::Error::from)
            .at(&home.run_dir)?;
        Ok(Self(fd))
    }

    fn drain(&self) {
        // What is left in the queue wakes us again.
        let _ = rustix::io::read(&self.0, &mut [0; 4096]);
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Monitor {
    /// Names them as they are now, and from now on.
    pub(super) fn name_linked(&mut self) -> Result<()> {
        if self.bundle.linked.is_empty() {
            return Ok(());
        }
        if let (Some(home), None) = (&self.home, &self.ledger) {
            // Before anything is read: what changes meanwhile is told.
            self.ledger = Some(Watch::over(home)?);
        }
        self.write_linked()
    }

    pub(super) fn ledger_changed(&mut self) {
        let Some(watch) = &self.ledger else { return };
        watch.drain();
        // A hosts file that cannot be written now is no reason to end a container: the next change tries again.
        drop(self.write_linked());
    }

    fn write_linked(&self) -> Result<()> {
        let (Some(path), Some(home)) = (&self.bundle.hosts, &self.home) else { return Ok(()) };
        let records = peek(&home.run_dir)?;
        let old = fs::read_to_string(path).at(path)?;
        let new = self.bundle.linked.iter().fold(old.clone(), |text, host| named(&text, host, &records));
        // In place: a file that is bound into the container must stay the same file.
        if new == old { Ok(()) } else { fs::write(path, new).at(path) }
    }
}

/// `text` with the lines of `host` as the ledger has it. Its last record counts: the interface that shows that somebody
/// is there comes after the record, and nobody tells of it.
fn named(text: &str, host: &LinkedHost, records: &[Record]) -> String {
    let is_it = |record: &&Record| record.container == host.container && record.network == host.network;
    let addresses: Vec<IpAddr> =
        records.iter().rfind(is_it).into_iter().flat_map(Record::addresses).collect();
    if addresses.is_empty() {
        return text.to_owned();
    }
    let lines: String = addresses.iter().map(|ip| format!("{ip}\t{}\n", host.names)).collect();
    let is_own =
        |line: &&str| line.trim_end_matches('\n').split_once('\t').is_some_and(|(_, n)| n == host.names);
    let at = text.split_inclusive('\n').take_while(|line| !is_own(line)).map(str::len).sum();
    let rest: String = text[at..].split_inclusive('\n').filter(|line| !is_own(line)).collect();
    format!("{}{lines}{rest}", &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Lives;

    fn record(container: &str, network: &str, ipv4: &str, ipv6: Option<&str>) -> Record {
        Record {
            container: container.to_owned(),
            name: container.to_owned(),
            network: network.to_owned(),
            endpoint: String::new(),
            ipv4: Some(ipv4.parse().unwrap()),
            ipv6: ipv6.map(|ip| ip.parse().unwrap()),
            mac: "02:42:ac:11:00:02".parse().unwrap(),
            lives: Lives::Interface("lo".to_owned()),
            published: Vec::new(),
            dns_names: Vec::new(),
        }
    }

    #[test]
    fn linked_containers_are_named_where_they_were() {
        let host = |names: &str| LinkedHost {
            container: "1".to_owned(),
            network: "bridge".to_owned(),
            names: names.to_owned(),
        };
        let here = [record("1", "bridge", "10.0.0.2", None), record("2", "bridge", "10.0.0.9", None)];
        let both = [record("1", "bridge", "10.0.0.3", Some("fd00::3"))];
        let moved = [record("1", "bridge", "10.0.0.2", None), record("1", "bridge", "10.0.0.4", None)];
        let elsewhere = [record("1", "mine", "10.1.0.2", None)];
        for (text, names, records, expected) in [
            ("a\tb\n", "db x", &here[..], "a\tb\n10.0.0.2\tdb x\n"),
            ("10.0.0.7\tdb x\n9\tme\n", "db x", &here, "10.0.0.2\tdb x\n9\tme\n"),
            (
                "a\tb\n1\tdb x\n2\tdb x\n9\tme\n",
                "db x",
                &both,
                "a\tb\n10.0.0.3\tdb x\nfd00::3\tdb x\n9\tme\n",
            ),
            ("10.0.0.2\tdb x\n", "db x", &moved, "10.0.0.4\tdb x\n"),
            ("1\tdb x\n", "db", &here, "1\tdb x\n10.0.0.2\tdb\n"),
            ("1\tdb x\n", "db x", &elsewhere, "1\tdb x\n"),
            ("1\tdb x\n", "db x", &[], "1\tdb x\n"),
            ("", "db", &[], ""),
        ] {
            assert_eq!(named(text, &host(names), records), expected, "{text:?}");
        }
    }
}
