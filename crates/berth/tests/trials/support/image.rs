//! Images made on the spot: real tars, real digests, contents that do not compress.

use berth_oci::{Descriptor, Digest, ImageConfig, ImageManifest, Manifest, ManifestBody, media_type};
use flate2::{Compression, write::GzEncoder};
use std::collections::BTreeMap;
use std::io::Write;

/// Numbers that look random and are the same every time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(count).collect()
    }
}

/// An image in memory: its manifest and every blob that it points to.
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
}

impl Image {
    /// An image of these uncompressed tars, for this machine.
    pub(crate) fn of(tars: &[Vec<u8>], command: &[&str]) -> Self {
        Self::with(tars, command, &berth_oci::Platform::host().architecture)
    }

    /// An image of these uncompressed tars, for this architecture.
    pub(crate) fn with(tars: &[Vec<u8>], command: &[&str], architecture: &str) -> Self {
        let mut blobs = BTreeMap::new();
        let mut keep = |media_type: &str, bytes: Vec<u8>| {
            let descriptor = Descriptor::of(media_type, &bytes);
            blobs.insert(descriptor.digest.to_string(), bytes);
            descriptor
        };
        let layers = tars.iter().map(|tar| keep(media_type::OCI_LAYER_GZIP, gzip(tar))).collect();
        let mut config = ImageConfig {
            created: Some("2026-01-02T03:04:05Z".into()),
            architecture: architecture.to_owned(),
            os: "linux".into(),
            ..ImageConfig::default()
        };
        config.config.cmd = Some(command.iter().map(|word| (*word).to_owned()).collect());
        config.rootfs.diff_ids = tars.iter().map(|tar| Digest::of(tar)).collect();
        let config = serde_json::to_vec(&config).expect("a config is JSON");
        let manifest = Manifest::from_body(ManifestBody::Image(ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.into()),
            artifact_type: None,
            config: keep(media_type::OCI_CONFIG, config),
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }));
        Self { manifest, blobs }
    }

    /// Bytes of all blobs together.
    pub(crate) fn size(&self) -> u64 {
        self.blobs.values().map(|blob| blob.len() as u64).sum()
    }
}

/// An image of `layers` layers, each with one file of `size` bytes; the same `name` makes the same layers.
pub(crate) fn many_layers(names: &[String], size: usize) -> Image {
    Image::of(&tars(names, size), &["/data"])
}

/// The same for another architecture.
pub(crate) fn many_layers_for(architecture: &str, names: &[String], size: usize) -> Image {
    Image::with(&tars(names, size), &["/data"], architecture)
}

fn tars(names: &[String], size: usize) -> Vec<Vec<u8>> {
    let layer = |name: &String| {
        let seed = name.bytes().fold(0x9e37_79b9_7f4a_7c15, |sum: u64, b| sum.rotate_left(7) ^ u64::from(b));
        let mut tar = Tar::default();
        tar.directory("data");
        tar.file(&format!("data/{name}"), 0o644, &Random(seed | 1).bytes(size));
        tar.finish()
    };
    names.iter().map(layer).collect()
}

/// An image with a busybox that needs no libraries; `None` where this machine has none.
pub(crate) fn busybox(command: &[&str]) -> Option<Image> {
    Some(Image::of(&[busybox_tar()?.finish()], command))
}

/// Its programs as the beginning of an archive, for more to be added.
pub(crate) fn busybox_tar() -> Option<Tar> {
    const PROGRAMS: [&str; 29] = [
        "cat", "chmod", "chown", "df", "echo", "env", "false", "grep", "head", "hostname", "id", "ip", "ln",
        "ls", "mkdir", "mount", "nc", "netstat", "nslookup", "ping", "rm", "wget", "sh", "sleep", "stat",
        "tail", "touch", "true", "wc",
    ];
    let program = std::fs::read("/bin/busybox").ok().filter(|program| !wants_an_interpreter(program))?;
    let mut tar = Tar::default();
    tar.directory("bin");
    tar.file("bin/busybox", 0o755, &program);
    for name in PROGRAMS {
        tar.link(&format!("bin/{name}"), "busybox");
    }
    Some(tar)
}

/// Whether an ELF program has a `PT_INTERP` header: it needs a dynamic linker, and that its libraries.
fn wants_an_interpreter(program: &[u8]) -> bool {
    const PT_INTERP: [u8; 4] = [3, 0, 0, 0];
    let number = |at: usize, length: usize| {
        program[at..at + length].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (headers, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|header| program[headers + header * size..].starts_with(&PT_INTERP))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// A ustar archive as it grows.
#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
    owner: u32,
}

impl Tar {
    /// What comes from here on is this user's, and the group's of the same number.
    pub(crate) fn own(&mut self, uid: u32) {
        self.owner = uid;
    }

    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, b'5', 0o755, "", &[]);
    }

    pub(crate) fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entry(name, b'0', mode, "", bytes);
    }

    pub(crate) fn link(&mut self, name: &str, target: &str) {
        self.entry(name, b'2', 0o777, target, &[]);
    }

    fn entry(&mut self, name: &str, kind: u8, mode: u32, target: &str, bytes: &[u8]) {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, &format!("{:07o}", self.owner));
        put(116, &format!("{:07o}", self.owner));
        put(124, &format!("{:011o}", bytes.len()));
        put(136, "14000000000");
        put(148, "        ");
        put(157, target);
        put(257, "ustar\x0000");
        header[156] = kind;
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend(header);
        self.bytes.extend(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}
