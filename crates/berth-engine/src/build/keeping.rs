//! The build cache: what is in it, and what leaves it when there is too much.
//!
//! Here: results of steps, failed steps, cache mounts as one list, and the choice of what goes. Not here: words of
//! the command line. Invariant: bytes that an image has, too, are nobody's to be freed here.

use crate::Engine;
use crate::archive::{self, Owner};
use berth_build::{CacheMount, FailedStep};
use berth_oci::{AtPath, Digest, Error, Result};
use berth_store::{StepLayers, StepRecord, Store};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;

/// Something in the build cache.
#[derive(Clone, Debug)]
pub struct CacheEntry {
    /// What it is called.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// What it comes from.
    pub description: String,
    /// Bytes on the disk.
    pub size: u64,
    /// Whether all of its bytes are an image's, too.
    pub shared: bool,
    /// Whether a build is using it now.
    pub in_use: bool,
    /// When it was made.
    pub created: Timestamp,
    /// When it was last used.
    pub used: Timestamp,
    /// How often it was used.
    pub uses: u64,
    /// What making it again would take, in milliseconds.
    pub cost_ms: u64,
    /// The layers that it keeps, and their bytes.
    layers: Vec<(Digest, u64)>,
    /// Other keys under which the result is found.
    aliases: Vec<Digest>,
    what: What,
}

/// Kinds of entries, in docker's words where docker has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    /// A step's result.
    Regular,
    /// A cache mount.
    CacheMount,
    /// A step that failed.
    Failed,
}

#[derive(Clone, Debug)]
enum What {
    Step(Digest),
    Mount(CacheMount),
}

/// What goes.
#[derive(Clone, Debug, Default)]
pub struct CachePrune {
    /// Entries whose bytes are images', too, which frees nothing.
    pub all: bool,
    /// Only what nobody has used for so long.
    pub unused_for: Option<SignedDuration>,
    /// So many bytes may stay.
    pub max_used: Option<u64>,
    /// So many bytes always stay.
    pub reserved: Option<u64>,
    /// So many bytes of the disk are to be free.
    pub min_free: Option<u64>,
}

/// What went.
#[derive(Clone, Debug, Default)]
pub struct CachePruned {
    /// The entries.
    pub entries: Vec<CacheEntry>,
    /// Bytes that were freed.
    pub bytes: u64,
}

/// What a document says that matters here.
#[derive(Default, Deserialize)]
struct Words {
    #[serde(default)]
    name: String,
    alias: Option<Digest>,
}

impl Engine {
    /// Everything in the build cache, the last used first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn build_cache(&self) -> Result<Vec<CacheEntry>> {
        let store = self.store()?;
        let mut entries = steps(store)?;
        for mount in CacheMount::all(store)? {
            entries.push(mount_entry(store, mount)?);
        }
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.id.cmp(&b.id)));
        Ok(entries)
    }

    /// Removes what `wanted` agrees to, as far as the sizes ask for it: what is quick to make again, large, and long
    /// unused goes first.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn prune_build_cache(
        &self,
        prune: &CachePrune,
        wanted: &dyn Fn(&CacheEntry) -> bool,
    ) -> Result<CachePruned> {
        let store = self.store()?;
        let entries = self.build_cache()?;
        let now = Timestamp::now();
        let space = store.disk_space()?.1;
        let (total, keep) = (total(&entries), |total| keep(total, space, prune));
        let left = keep(total);
        let is_free = |entry: &CacheEntry| {
            !entry.in_use
                && (prune.all || !entry.shared)
                && prune.unused_for.is_none_or(|age| now.duration_since(entry.used) >= age)
                && wanted(entry)
        };
        let mut chosen = choose(entries, total, left, now, &is_free);
        let mut keys = Vec::new();
        for entry in &chosen {
            keys.extend(entry.aliases.iter().cloned());
            match &entry.what {
                What::Step(key) => keys.push(key.clone()),
                What::Mount(_) => {}
            }
        }
        store.remove_steps(&keys)?;
        let mut bytes = 0;
        chosen.retain(|entry| match &entry.what {
            // Somebody may have begun to use it since.
            What::Mount(mount) => mount.remove(store).is_ok_and(|removed| {
                bytes += if removed { entry.size } else { 0 };
                removed
            }),
            What::Step(_) => true,
        });
        bytes += if keys.is_empty() { 0 } else { store.gc()?.bytes };
        Ok(CachePruned { entries: chosen, bytes })
    }

    /// Brings the cache back to `limit` bytes; without one, to a tenth of the disk, but no less than ten gigabytes.
    ///
    /// # Errors
    /// The store cannot be written to.
    pub fn limit_build_cache(&self, limit: Option<u64>) -> Result<CachePruned> {
        const LEAST: u64 = 10_000_000_000;
        let limit = match limit {
            Some(limit) => limit,
            None => (self.store()?.disk_space()?.0 / 10).max(LEAST),
        };
        if total(&self.build_cache()?) <= limit {
            return Ok(CachePruned::default());
        }
        let prune = CachePrune { max_used: Some(limit), ..CachePrune::default() };
        self.prune_build_cache(&prune, &|_| true)
    }

    /// Writes the files of a cache mount as a tar.
    ///
    /// # Errors
    /// There is none of that name, or it cannot be read.
    pub fn export_cache_mount(&self, name: &str, out: &mut dyn Write) -> Result<()> {
        let mount = self.cache_mount(name)?;
        let _held = mount.hold(self.store()?)?;
        let data = mount.data();
        archive::write(File::open(&data).at(&data)?.as_fd(), c".", b"", out)
    }

    /// Unpacks a tar into a cache mount, which is made where there is none; what else is in there stays.
    ///
    /// # Errors
    /// It is no tar, or the disk is full.
    pub fn import_cache_mount(&self, name: &str, tar: &mut dyn Read) -> Result<()> {
        let store = self.store()?;
        let mount = match self.cache_mount(name) {
            Err(error) if error.kind() == berth_oci::Kind::NotFound => CacheMount::make(store, name)?,
            found => found?,
        };
        let _held = mount.hold(store)?;
        let data = mount.data();
        archive::unpack(File::open(&data).at(&data)?.as_fd(), Owner::Archive, tar)
    }

    /// The one cache mount with that id, or whose directory's name begins so.
    fn cache_mount(&self, name: &str) -> Result<CacheMount> {
        let mut found: Vec<CacheMount> = CacheMount::all(self.store()?)?
            .into_iter()
            .filter(|mount| mount.id == name || (name.len() >= 8 && mount.key.starts_with(name)))
            .collect();
        match (found.pop(), found.is_empty()) {
            (Some(mount), true) => Ok(mount),
            (Some(_), false) => Err(Error::invalid(format!("several cache mounts are called {name}"))
                .hint("they differ in owner, mode or first contents; name one by the ID of `buildx du`")),
            (None, _) => Err(Error::not_found(format!("there is no cache mount {name}"))
                .hint("`berth buildx mount ls` lists them")),
        }
    }
}

fn steps(store: &Store) -> Result<Vec<CacheEntry>> {
    let layers = store.step_layers()?;
    let records = store.steps()?;
    let words: HashMap<&Digest, Words> = records
        .iter()
        .map(|record| (&record.key, serde_json::from_str(&record.document).unwrap_or_default()))
        .collect();
    let mut aliases: HashMap<Digest, Vec<Digest>> = HashMap::new();
    for (key, words) in &words {
        // Another way to a result goes with the result; one that leads nowhere stands for itself.
        if let Some(target) = words.alias.as_ref().filter(|target| layers.of_steps.contains_key(*target)) {
            aliases.entry(target.clone()).or_default().push((*key).clone());
        }
    }
    let is_alias: HashSet<Digest> = aliases.values().flatten().cloned().collect();
    let own = records.iter().filter(|record| !is_alias.contains(&record.key));
    Ok(own
        .map(|record| {
            let name = words[&record.key].name.clone();
            step_entry(record, name, &layers, aliases.get(&record.key).cloned().unwrap_or_default())
        })
        .collect())
}

fn step_entry(record: &StepRecord, name: String, layers: &StepLayers, aliases: Vec<Digest>) -> CacheEntry {
    let own = layers.of_steps.get(&record.key).cloned().unwrap_or_default();
    let is_failed = FailedStep::of(record).is_some();
    let own: Vec<(Digest, u64)> = match is_failed {
        // What it stood on is not its own.
        true => own.into_iter().filter(|(layer, _)| !layers.elsewhere.contains(layer)).collect(),
        false => own,
    };
    CacheEntry {
        id: record.key.hex()[..25].to_owned(),
        kind: if is_failed { CacheKind::Failed } else { CacheKind::Regular },
        description: name,
        size: own.iter().map(|(_, bytes)| bytes).sum(),
        shared: !own.is_empty() && own.iter().all(|(layer, _)| layers.elsewhere.contains(layer)),
        in_use: false,
        created: record.made,
        used: record.used,
        uses: record.uses,
        cost_ms: u64::try_from(record.cost.as_millis()).unwrap_or(u64::MAX),
        layers: own.into_iter().filter(|(layer, _)| !layers.elsewhere.contains(layer)).collect(),
        aliases,
        what: What::Step(record.key.clone()),
    }
}

fn mount_entry(store: &Store, mount: CacheMount) -> Result<CacheEntry> {
    Ok(CacheEntry {
        id: mount.key.clone(),
        kind: CacheKind::CacheMount,
        description: format!("cached mount {}", mount.id),
        size: store.bytes_below(&mount.data()).unwrap_or_default(),
        shared: false,
        in_use: mount.is_in_use(store)?,
        created: mount.created,
        used: mount.used,
        uses: 0,
        cost_ms: 0,
        layers: Vec::new(),
        aliases: Vec::new(),
        what: What::Mount(mount),
    })
}

/// Bytes of all of them, each layer once, those of images not at all.
fn total(entries: &[CacheEntry]) -> u64 {
    let layers: HashMap<&Digest, u64> =
        entries.iter().flat_map(|entry| entry.layers.iter().map(|(layer, bytes)| (layer, *bytes))).collect();
    let mounts = entries.iter().filter(|entry| entry.kind == CacheKind::CacheMount).map(|entry| entry.size);
    layers.values().sum::<u64>() + mounts.sum::<u64>()
}

/// How many bytes may stay.
fn keep(total: u64, free: u64, prune: &CachePrune) -> u64 {
    let most = prune.max_used.unwrap_or(if prune.min_free.is_some() { u64::MAX } else { 0 });
    let missing = prune.min_free.map_or(0, |wanted| wanted.saturating_sub(free));
    let most = if missing > 0 { most.min(total.saturating_sub(missing)) } else { most };
    most.max(prune.reserved.unwrap_or(0))
}

/// What has to go until no more than `left` bytes stay.
fn choose(
    mut entries: Vec<CacheEntry>,
    mut total: u64,
    left: u64,
    now: Timestamp,
    is_free: &dyn Fn(&CacheEntry) -> bool,
) -> Vec<CacheEntry> {
    let mut users: HashMap<Digest, usize> = HashMap::new();
    for (layer, _) in entries.iter().flat_map(|entry| &entry.layers) {
        *users.entry(layer.clone()).or_default() += 1;
    }
    entries.retain(|entry| is_free(entry));
    entries.sort_by(|a, b| dispensable(b, now).total_cmp(&dispensable(a, now)).then_with(|| a.id.cmp(&b.id)));
    let mut chosen = Vec::new();
    for entry in entries {
        if left > 0 && total <= left {
            break;
        }
        for (layer, bytes) in &entry.layers {
            let users = users.entry(layer.clone()).or_default();
            *users = users.saturating_sub(1);
            total = total.saturating_sub(if *users == 0 { *bytes } else { 0 });
        }
        if entry.kind == CacheKind::CacheMount {
            total = total.saturating_sub(entry.size);
        }
        chosen.push(entry);
    }
    chosen
}

/// How little would be lost: seconds since its last use, times bytes, by the time to make it again.
fn dispensable(entry: &CacheEntry, now: Timestamp) -> f64 {
    // What a cache mount saves is not known; a second, and a tenth for each megabyte, is what a fast line takes.
    let cost_ms = match entry.kind {
        CacheKind::CacheMount => 1_000 + entry.size / 10_000,
        CacheKind::Failed => 0,
        CacheKind::Regular => entry.cost_ms,
    };
    // Within a minute, what was used a moment later is not worth more.
    let age = now.duration_since(entry.used).as_secs_f64().max(0.0) + 60.0;
    age * (entry.size as f64 + 1.0) / (cost_ms as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, size: u64, cost_ms: u64, age: i64) -> CacheEntry {
        let used = Timestamp::from_second(1_000_000 - age).unwrap();
        let key = Digest::of(id.as_bytes());
        CacheEntry {
            id: id.to_owned(),
            kind: CacheKind::Regular,
            description: String::new(),
            size,
            shared: false,
            in_use: false,
            created: used,
            used,
            uses: 0,
            cost_ms,
            layers: vec![(key.clone(), size)],
            aliases: Vec::new(),
            what: What::Step(key),
        }
    }

    #[test]
    fn what_is_large_quick_and_old_goes_first() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let entries = || {
            let mut twin = entry("twin", 900, 10, 100);
            twin.layers = entry("slow", 900, 0, 0).layers;
            vec![
                entry("slow", 900, 60_000, 100),
                entry("quick", 900, 10, 100),
                entry("new", 900, 10, 1),
                entry("small", 9, 10, 100),
                twin,
            ]
        };
        let all = total(&entries());
        assert_eq!(all, 900 * 3 + 9, "a layer counts once");
        for (left, expected) in [
            (all, &[][..]),
            (2_000, &["quick"]),
            // `twin` frees nothing as long as `slow` has the same layer.
            (1_000, &["quick", "twin", "new"]),
            (0, &["quick", "twin", "new", "small", "slow"]),
        ] {
            let chosen = choose(entries(), all, left, now, &|_| true);
            let ids: Vec<&str> = chosen.iter().map(|entry| entry.id.as_str()).collect();
            assert_eq!(ids, expected, "{left}");
        }
    }

    #[test]
    fn sizes_say_how_much_stays() {
        let prune = |max_used, reserved, min_free| CachePrune {
            max_used,
            reserved,
            min_free,
            ..CachePrune::default()
        };
        for (prune, expected) in [
            (prune(None, None, None), 0),
            (prune(Some(70), None, None), 70),
            (prune(None, Some(30), None), 30),
            (prune(Some(20), Some(30), None), 30),
            (prune(None, None, Some(5)), u64::MAX),
            (prune(None, None, Some(60)), 50),
            (prune(Some(40), None, Some(60)), 40),
            (prune(None, Some(80), Some(500)), 80),
        ] {
            assert_eq!(keep(100, 10, &prune), expected, "{prune:?}");
        }
    }
}
