//! Which process has a port: asked when we were refused it, to say whom to stop.
//!
//! Here: sockets in `/proc/net` and their processes. Not here: containers, which the ledger knows. Invariant:
//! every answer is a help to people only, because what is read may have changed since.

use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::network::Published;
use super::port::Protocol;

/// A process that has the port.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) pid: u32,
    pub(super) command: String,
}

/// `pid 4711 (nginx)`.
impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.command)
    }
}

/// The process that keeps us from `wanted`, as far as `/proc` tells.
pub(super) fn of(wanted: Published) -> Option<Owner> {
    let files = match wanted.protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        Protocol::Udp => ["udp", "udp6"],
        Protocol::Sctp => return None,
    };
    let inode = files.iter().find_map(|file| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        text.lines().skip(1).find_map(|line| socket_at(line, wanted))
    })?;
    process_with(&format!("socket:[{inode}]"))
}

/// The inode of the socket in this line, when it has the port on the same address or on every one.
fn socket_at(line: &str, wanted: Published) -> Option<u64> {
    /// A TCP socket in another state has a port in common with its listener, or none that would be in the way.
    const LISTENS: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    if u16::from_str_radix(port, 16).ok()? != wanted.host_port || !covers(address, wanted.host_ip) {
        return None;
    }
    let listens = wanted.protocol != Protocol::Tcp || *fields.get(3)? == LISTENS;
    listens.then(|| fields.get(9)?.parse().ok())?
}

/// Addresses stand there as 32-bit words in the machine's byte order. A socket of `::` without IPV6_V6ONLY has
/// IPv4's ports too.
fn covers(address: &str, wanted: IpAddr) -> bool {
    let any = address.bytes().all(|digit| digit == b'0');
    let words: Option<Vec<[u8; 4]>> = (0..address.len() / 8)
        .map(|word| Some(u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok()?.to_ne_bytes()))
        .collect();
    let Some(words) = words else { return false };
    let has = match words[..] {
        [word] => IpAddr::from(Ipv4Addr::from(word)),
        [..] => match <[u8; 16]>::try_from(words.concat()) {
            Ok(bytes) => Ipv6Addr::from(bytes).to_canonical(),
            Err(_) => return false,
        },
    };
    match (wanted, has) {
        (IpAddr::V6(_), IpAddr::V4(_)) => false,
        (IpAddr::V4(_), IpAddr::V6(_)) => any,
        _ => any || wanted.is_unspecified() || has == wanted,
    }
}

fn process_with(socket: &str) -> Option<Owner> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.find_map(|pid| {
        let mut descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        descriptors
            .find(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == socket))?;
        let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned();
        Some(Owner { pid, command })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_proc_net_tcp() {
        let line = |address: &str, state: &str| {
            format!(
                "  0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 0 0 4242 1 0"
            )
        };
        let at = |ip: &str| Published {
            host_ip: ip.parse().unwrap(),
            host_port: 8080,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let loopback6 = "00000000000000000000000001000000:1F90";
        let rows = [
            (line("0100007F:1F90", "0A"), "127.0.0.1", Some(4242)),
            (line("0100007F:1F90", "0A"), "0.0.0.0", Some(4242)),
            (line("00000000:1F90", "0A"), "127.0.0.1", Some(4242)),
            (line("00000000:1F90", "0A"), "::1", None),
            (line("00000000000000000000000000000000:1F90", "0A"), "10.0.0.1", Some(4242)),
            (line("00000000000000000000000000000000:1F90", "0A"), "::1", Some(4242)),
            (line("0000000000000000FFFF00000100007F:1F90", "0A"), "127.0.0.1", Some(4242)),
            (line(loopback6, "0A"), "::1", Some(4242)),
            (line(loopback6, "0A"), "::", Some(4242)),
            (line(loopback6, "0A"), "::2", None),
            (line(loopback6, "0A"), "127.0.0.1", None),
            (line("0100007F:1F91", "0A"), "127.0.0.1", None),
            (line("0100007F:1F90", "0A"), "127.0.0.2", None),
            (line("0100007F:1F90", "01"), "127.0.0.1", None),
            ("garbage".into(), "127.0.0.1", None),
            ("a b:c d".into(), "127.0.0.1", None),
        ];
        for (line, ip, expected) in rows {
            assert_eq!(socket_at(&line, at(ip)), expected, "{line} {ip}");
        }
    }
}
