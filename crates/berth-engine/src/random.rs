//! Random bytes, and the ids that are made of them.

use berth_oci::Result;

/// So many random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut bytes[filled..], flags).map_err(std::io::Error::from)?;
    }
    Ok(bytes)
}

/// 64 hexadecimal digits; an id whose first twelve are all decimal could be taken for a number by a shell script.
pub(crate) fn id() -> Result<String> {
    loop {
        let id: String = bytes::<32>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        if id[..12].bytes().any(|b| b.is_ascii_alphabetic()) {
            return Ok(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_random_and_no_numbers() {
        let ids: std::collections::BTreeSet<String> = (0..100).map(|_| id().unwrap()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == 64 && id[..12].parse::<u64>().is_err()));
    }
}
