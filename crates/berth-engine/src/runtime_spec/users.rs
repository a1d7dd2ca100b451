//! A container's users in the specification: its user namespace, and the owners that the files of mounts are shown with.
//!
//! Invariant: a mapping covers every number of the container's, once, so that nothing a container makes is lost.

use super::{Surroundings, bug};
use crate::container::{Span, UserRange};
use crate::spec::{IdMaps, IdRange, Owners};
use berth_oci::{Error, Result};
use oci_spec::runtime as oci;

/// The last number, which means nobody, is no user.
const ALL: u32 = u32::MAX;

/// Who a container's program is, and who owns what a mount shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// The mappings of a container's user namespace: of users, and of groups.
pub(super) fn mappings(range: UserRange) -> Result<[Vec<oci::LinuxIdMapping>; 2]> {
    let [uids, gids] = range.spans();
    let built = |spans: Vec<Span>| {
        spans.into_iter().map(|span| mapping(span.inside, span.outside, span.size)).collect::<Result<_>>()
    };
    Ok([built(uids)?, built(gids)?])
}

fn mapping(disk: u32, seen: u32, size: u32) -> Result<oci::LinuxIdMapping> {
    let builder = oci::LinuxIdMappingBuilder::default().container_id(disk).host_id(seen).size(size);
    builder.build().map_err(bug)
}

/// Gives a mount the owners that were asked for; `source` owns what it shows.
pub(super) fn apply(
    mount: &mut oci::Mount,
    owners: &Owners,
    source: Option<Ids>,
    around: &Surroundings,
) -> Result<()> {
    let range = around.users;
    let (uids, gids) = match owners {
        Owners::Kept | Owners::Given => return Ok(()),
        Owners::Mapped(maps) => explicit(maps, range)?,
        Owners::Shown => {
            let source = source.ok_or_else(|| Error::internal("nobody has looked who owns a mount"))?;
            let (uid, gid) = (range.map_or(0, |r| r.uid), range.map_or(0, |r| r.gid));
            let size = range.map_or(ALL, |range| range.size);
            if range.is_none() && source == around.program {
                return Ok(());
            }
            (
                exchange(source.uid, around.program.uid, uid, size),
                exchange(source.gid, around.program.gid, gid, size),
            )
        }
    };
    let built = |ranges: Vec<(u32, u32, u32)>| {
        ranges.into_iter().map(|(disk, seen, size)| mapping(disk, seen, size)).collect::<Result<Vec<_>>>()
    };
    mount.set_uid_mappings(Some(built(uids)?));
    mount.set_gid_mappings(Some(built(gids)?));
    Ok(())
}

/// On the disk, as seen, and how many.
type Ranges = Vec<(u32, u32, u32)>;

fn explicit(maps: &IdMaps, range: Option<UserRange>) -> Result<(Ranges, Ranges)> {
    let of = |ranges: &[IdRange], base: u32| {
        let of = |r: &IdRange| {
            let shift = if r.inside { base } else { 0 };
            let seen = r.seen.checked_add(shift).filter(|seen| seen.checked_add(r.size).is_some());
            Ok((
                r.disk,
                seen.ok_or_else(|| Error::invalid("an idmap leads to numbers that nobody has"))?,
                r.size,
            ))
        };
        ranges.iter().map(of).collect::<Result<Vec<_>>>()
    };
    let uids = of(&maps.uids, range.map_or(0, |range| range.uid))?;
    Ok((uids, of(&maps.gids, range.map_or(0, |range| range.gid))?))
}

/// Everybody is seen as himself, but `disk` as `seen` and the other way round. `base` is what the container's 0 is on
/// the host, `size` how many it has.
fn exchange(disk: u32, seen: u32, base: u32, size: u32) -> Ranges {
    let (low, high) = (disk.min(seen), disk.max(seen));
    let mut ranges = Vec::new();
    let mut same = |from: u32, to: u32| {
        if from < to {
            ranges.push((from, base + from, to - from));
        }
    };
    same(0, low.min(size));
    same(low.saturating_add(1), high.min(size));
    same(high.saturating_add(1).max(low.saturating_add(1)), size);
    ranges.push((disk, base + seen, 1));
    if disk != seen && disk < size {
        ranges.push((seen, base + disk, 1));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_change_places_and_nobody_is_lost() {
        for (disk, seen, base, size, expected) in [
            (1000, 0, 0, ALL, vec![(1, 1, 999), (1001, 1001, ALL - 1001), (1000, 0, 1), (0, 1000, 1)]),
            (0, 0, 5000, 100, vec![(1, 5001, 99), (0, 5000, 1)]),
            (
                10,
                33,
                5000,
                100,
                vec![(0, 5000, 10), (11, 5011, 22), (34, 5034, 66), (10, 5033, 1), (33, 5010, 1)],
            ),
            // Whom the container has no number for gets that of its user, who is nowhere else then.
            (1000, 33, 5000, 100, vec![(0, 5000, 33), (34, 5034, 66), (1000, 5033, 1)]),
        ] {
            assert_eq!(exchange(disk, seen, base, size), expected, "{disk} {seen}");
        }
    }
}
