//! Extended attributes, each stored once: tens of thousands of files of a layer usually share a handful.

use berth_oci::{Error, Result};
use std::collections::{BTreeMap, HashMap};

/// All attributes of a layer may not take more memory than this.
const BYTES_LIMIT: usize = 64 << 20;

/// Namespaces as EROFS numbers them (`EROFS_XATTR_INDEX_*`); the name goes on after the prefix.
const NAMESPACES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// How overlayfs marks a directory that hides those of the same name below.
pub(crate) const OPAQUE: (&[u8], &[u8]) = (b"trusted.overlay.opaque", b"y");

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attribute {
    /// The number of its namespace.
    pub(crate) namespace: u8,
    /// The whole name.
    name: Vec<u8>,
    /// The value.
    pub(crate) value: Vec<u8>,
}

impl Attribute {
    /// The whole name.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name after the namespace's prefix.
    pub(crate) fn suffix(&self) -> &[u8] {
        let prefix = NAMESPACES.iter().find(|(_, number)| *number == self.namespace);
        &self.name[prefix.map_or(0, |(prefix, _)| prefix.len())..]
    }
}

/// All attributes of a layer and the sets of them that its files have. Set 0 is the empty one.
pub(crate) struct Attributes {
    all: Vec<Attribute>,
    by_value: HashMap<Attribute, u32>,
    sets: Vec<Vec<u32>>,
    by_set: HashMap<Vec<u32>, u32>,
    bytes: usize,
}

impl Attributes {
    pub(crate) fn new() -> Self {
        Self {
            all: Vec::new(),
            by_value: HashMap::new(),
            sets: vec![Vec::new()],
            by_set: HashMap::from([(Vec::new(), 0)]),
            bytes: 0,
        }
    }

    /// The set of an entry. Namespaces that Linux does not have are left out, as every engine does; so are
    /// overlayfs' own, by which a layer could redirect names of the layers below.
    pub(crate) fn intern(&mut self, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Result<u32> {
        if xattrs.is_empty() {
            return Ok(0);
        }
        let mut set = Vec::new();
        for (name, value) in xattrs {
            if let Some(namespace) = namespace(name) {
                set.push(self.attribute(namespace, name, value)?);
            }
        }
        self.set(set)
    }

    /// The same set with overlayfs' mark of an opaque directory.
    pub(crate) fn with_opaque(&mut self, set: u32) -> Result<u32> {
        let opaque = self.attribute(4, OPAQUE.0, OPAQUE.1)?;
        let mut set = self.sets[set as usize].clone();
        set.push(opaque);
        self.set(set)
    }

    /// How many sets there are.
    pub(crate) fn sets(&self) -> usize {
        self.sets.len()
    }

    /// The attributes of a set, by number.
    pub(crate) fn numbers(&self, set: u32) -> &[u32] {
        &self.sets[set as usize]
    }

    /// The attributes of a set.
    pub(crate) fn of(&self, set: u32) -> impl Iterator<Item = &Attribute> {
        self.numbers(set).iter().map(|&number| &self.all[number as usize])
    }

    /// All attributes, by number.
    pub(crate) fn all(&self) -> &[Attribute] {
        &self.all
    }

    fn attribute(&mut self, namespace: u8, name: &[u8], value: &[u8]) -> Result<u32> {
        if name.len() > 255 || value.len() > u16::MAX.into() {
            let name = String::from_utf8_lossy(&name[..name.len().min(255)]).into_owned();
            return Err(Error::corrupt(format!(
                "the extended attribute `{name}` is larger than Linux allows"
            )));
        }
        let attribute = Attribute { namespace, name: name.to_vec(), value: value.to_vec() };
        if let Some(&number) = self.by_value.get(&attribute) {
            return Ok(number);
        }
        self.grow(2 * (name.len() + value.len()) + 160)?;
        let number = self.all.len() as u32;
        self.all.push(attribute.clone());
        self.by_value.insert(attribute, number);
        Ok(number)
    }

    fn set(&mut self, set: Vec<u32>) -> Result<u32> {
        if let Some(&number) = self.by_set.get(&set) {
            return Ok(number);
        }
        self.grow(8 * set.len() + 80)?;
        let number = self.sets.len() as u32;
        self.sets.push(set.clone());
        self.by_set.insert(set, number);
        Ok(number)
    }

    fn grow(&mut self, bytes: usize) -> Result<()> {
        self.bytes += bytes;
        match self.bytes > BYTES_LIMIT {
            true => {
                Err(Error::unsupported("the layer has more than 64 MiB of different extended attributes"))
            }
            false => Ok(()),
        }
    }
}

fn namespace(name: &[u8]) -> Option<u8> {
    if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
        return None;
    }
    let (prefix, number) = NAMESPACES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let is_whole = !prefix.ends_with(b".");
    (is_whole == (name.len() == prefix.len())).then_some(*number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pairs: &[(&str, &str)]) -> BTreeMap<Vec<u8>, Vec<u8>> {
        pairs.iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
    }

    #[test]
    fn equal_sets_are_stored_once() {
        let mut attributes = Attributes::new();
        let one = attributes.intern(&set(&[("user.a", "1"), ("security.capability", "x")])).unwrap();
        let same = attributes.intern(&set(&[("security.capability", "x"), ("user.a", "1")])).unwrap();
        let other = attributes.intern(&set(&[("user.a", "1")])).unwrap();
        assert_eq!((one, same, other, attributes.all().len()), (1, 1, 2, 2));
        let opaque = attributes.with_opaque(other).unwrap();
        let names: Vec<_> = attributes.of(opaque).map(|a| a.suffix().escape_ascii().to_string()).collect();
        assert_eq!(names, ["a", "overlay.opaque"]);
    }

    #[test]
    fn foreign_namespaces_are_left_out() {
        let mut attributes = Attributes::new();
        let names =
            ["com.apple.x", "user.", "system.nfs4_acl", "trusted.overlay.redirect", "user.overlay.opaque"];
        for name in names {
            assert_eq!(attributes.intern(&set(&[(name, "1")])).unwrap(), 0, "{name}");
        }
        assert!(attributes.intern(&set(&[("user.a", &"v".repeat(65_536))])).is_err());
    }
}
