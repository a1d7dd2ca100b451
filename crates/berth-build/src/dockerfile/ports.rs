//! What `EXPOSE` means: `80`, `8000-8010/udp`, and the forms with addresses that it should not have.
//!
//! Invariant: what comes out is `number/protocol`, in lower case, one for each port.

use std::net::IpAddr;
use std::str::FromStr;

/// What one word of `EXPOSE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposed {
    /// `80/tcp`, one for each port of a range.
    pub ports: Vec<String>,
    /// The protocol is written with capitals.
    pub has_capitals: bool,
    /// An address or a host port is given, which `EXPOSE` makes nothing of.
    pub has_host_part: bool,
}

/// Reads an expanded word of `EXPOSE`.
///
/// # Errors
/// It names no port, or one that cannot be.
pub fn exposed(word: &str) -> Result<Exposed, String> {
    let mut parts = word.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host_port = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (range, protocol) = container.split_once('/').unwrap_or((container, ""));
    if range.is_empty() {
        return Err(format!("invalid port: {word:?}: no port specified"));
    }
    let lower = protocol.to_lowercase();
    let lower = match lower.as_str() {
        "" => "tcp",
        "tcp" | "udp" | "sctp" => &lower,
        _ => return Err(format!("invalid port: {word:?}: invalid proto: {protocol}")),
    };
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && IpAddr::from_str(bare).is_err() {
        return Err(format!("invalid IP address: {bare}"));
    }
    let (first, last) = self::range(range).ok_or_else(|| format!("invalid containerPort: {range}"))?;
    if !host_port.is_empty() {
        let (host_first, host_last) =
            self::range(host_port).ok_or_else(|| format!("invalid hostPort: {host_port}"))?;
        if last - first != host_last - host_first && last != first {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {range} and {host_port}"
            ));
        }
    }
    Ok(Exposed {
        ports: (first..=last).map(|port| format!("{port}/{lower}")).collect(),
        has_capitals: protocol != protocol.to_lowercase(),
        has_host_part: !address.is_empty() || !host_port.is_empty(),
    })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    let Some((first, last)) = text.split_once('-') else {
        let port = number(text)?;
        return Some((port, port));
    };
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::json;
    use serde_json::Value;

    #[test]
    fn ports_come_out_one_by_one() {
        for (word, expected) in [
            ("80", "80/tcp"),
            ("80/UDP", "80/udp"),
            ("8000-8002", "8000/tcp 8001/tcp 8002/tcp"),
            ("127.0.0.1:1:2", "2/tcp"),
            ("[::1]:80:80", "80/tcp"),
            ("1-3:80", "80/tcp"),
        ] {
            assert_eq!(exposed(word).expect(word).ports.join(" "), expected, "{word}");
        }
        for (word, message) in [
            ("", "invalid port: \"\": no port specified"),
            ("80/icmp", "invalid port: \"80/icmp\": invalid proto: icmp"),
            ("x", "invalid containerPort: x"),
            ("70000", "invalid containerPort: 70000"),
            ("9-8", "invalid containerPort: 9-8"),
            ("localhost:1:1", "invalid IP address: localhost"),
            ("1-3:1-2", "invalid ranges specified for container and host Ports: 1-2 and 1-3"),
        ] {
            assert_eq!(exposed(word).expect_err(word), message, "{word}");
        }
    }

    #[test]
    fn the_tables_are_met() {
        let Some(tables) = json("buildkit-parser/expose_tables.json") else { return };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for row in rows(&tables["TestParsePortEmptyContainerPort"][0]) {
            assert_eq!(exposed(&text(&row["spec"])).expect_err("no port"), text(&row["expError"]));
        }
        for row in rows(&tables["TestPartPortIPV6"][0]) {
            let expected: Vec<String> = rows(&row["expected"]).iter().map(text).collect();
            assert_eq!(exposed(&text(&row["spec"])).expect("good").ports, expected, "{row}");
        }
        // The lists are words and what they come to, by turns; the last one is refused.
        for table in ["TestParsePorts", "TestParsePortsWithRange"] {
            let lists: Vec<Vec<String>> =
                rows(&tables[table]).iter().map(|list| rows(list).iter().map(text).collect()).collect();
            let (refused, good) = lists.split_last().expect("there are lists");
            for pair in good.chunks(2) {
                let found: Vec<String> =
                    pair[0].iter().flat_map(|word| exposed(word).expect(word).ports).collect();
                assert_eq!(found, pair[1], "{table}");
            }
            assert!(refused.iter().all(|word| exposed(word).is_err()), "{refused:?}");
        }
    }
}
