//! The names by which one berth's networks are known to the kernel, derived from its root.
//!
//! Invariant: equal roots give equal names, different roots different ones, and every interface name fits the
//! kernel's 15 bytes.

use std::path::Path;

/// The names of one berth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The bridge of the network every container joins unless told otherwise.
    pub bridge: String,
    /// The nftables table of the family `inet`, one for all networks of the root.
    pub nft_table: String,
    seed: u64,
}

impl Names {
    /// The names of the berth with this root; the machine's usual one has the plain names.
    #[must_use]
    pub fn of(root: &Path, usual: bool) -> Self {
        let seed = hash(root.as_os_str().as_encoded_bytes());
        match usual {
            true => Self { bridge: "berth0".into(), nft_table: "berth".into(), seed },
            false => Self {
                bridge: format!("br-{:012x}", seed & 0xffff_ffff_ffff),
                nft_table: format!("berth-{seed:016x}"),
                seed,
            },
        }
    }

    /// Where the search for `network`'s subnet begins.
    pub(super) fn seed_of(&self, network: &str) -> u64 {
        let mut bytes = self.seed.to_ne_bytes().to_vec();
        bytes.extend(network.bytes());
        hash(&bytes)
    }
}

/// FNV-1a: short, and the same in every version of every build, which names on disk and in the kernel need.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_their_own_names_and_all_fit() {
        let usual = Names::of(Path::new("/var/lib/berth"), true);
        assert_eq!((usual.bridge.as_str(), usual.nft_table.as_str()), ("berth0", "berth"));
        let (one, other) = (Names::of(Path::new("/tmp/a"), false), Names::of(Path::new("/tmp/b"), false));
        assert_eq!(one, Names::of(Path::new("/tmp/a"), false));
        assert!(one.bridge != other.bridge && one.nft_table != other.nft_table);
        assert_ne!(one.seed_of("web"), other.seed_of("web"));
        assert_eq!(one.bridge.len(), 15, "{}", one.bridge);
    }
}
