//! `logs`: what a container has written, and where its monitor is to keep it.

use super::Container;
use crate::engine::Engine;
use crate::spec::LogDriver;
use berth_oci::{Error, Kind, Result};
use berth_runtime::log::{Options, Reader};
use berth_runtime::{Log, LogFile, LogJournal};
use std::collections::BTreeMap;

/// Bytes of one file and how many there are, where nobody says: docker's own default is to fill the disk.
const JSON_FILE: (u64, u32) = (10_000_000, 3);
/// Docker's for its own files.
const LOCAL: (u64, u32) = (20_000_000, 5);
/// Where systemd's journal listens.
const JOURNAL: &str = "/run/systemd/journal/socket";

impl Engine {
    /// Opens a container's log.
    ///
    /// # Errors
    /// The container keeps none.
    pub fn logs(&self, container: &Container, options: Options) -> Result<Reader> {
        if container.document.spec.log.driver == LogDriver::None {
            return Err(Error::unsupported("configured logging driver does not support reading")
                .hint("the container was made with --log-driver none: nothing of its output was kept"));
        }
        Reader::open(&self.log_path(&container.id)?, options)
            .map_err(|error| self.unless_removed(&container.id, error))
    }

    /// Where files are gone, the container may be: then that is what there is to say of this error.
    pub fn unless_removed(&self, id: &str, error: Error) -> Error {
        match self.store().and_then(|store| store.container(id)) {
            Err(gone) if error.kind() == Kind::NotFound && gone.kind() == Kind::NotFound => gone,
            _ => error,
        }
    }

    /// Where its output goes.
    pub(super) fn log(&self, container: &Container) -> Result<Log> {
        let wanted = &container.document.spec.log;
        let process = &container.document.process;
        let attributes =
            wanted.attributes(&process.labels, &process.env, &|name| tag_field(container, name))?;
        let file = |(size, files): (u64, u32), attributes| -> Result<LogFile> {
            Ok(LogFile {
                path: self.log_path(&container.id)?,
                max_size: wanted.max_size.unwrap_or(size),
                max_files: wanted.max_file.unwrap_or(files),
                compress: wanted.is_compressed(),
                attributes,
            })
        };
        let log = match wanted.driver {
            LogDriver::None => Log::default(),
            LogDriver::JsonFile => Log { file: Some(file(JSON_FILE, attributes)?), ..Log::default() },
            LogDriver::Local => Log { file: Some(file(LOCAL, BTreeMap::new())?), ..Log::default() },
            LogDriver::Journald => Log {
                journal: Some(LogJournal { socket: JOURNAL.into(), fields: fields(container, &attributes) }),
                file: Some(file(JSON_FILE, attributes)?),
                ..Log::default()
            },
            LogDriver::Syslog => Log {
                syslog: Some(wanted.syslog(tag(container, &attributes))?),
                file: Some(file(JSON_FILE, attributes)?),
                ..Log::default()
            },
        };
        let buffer = wanted.buffer().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Log { buffer, ..log })
    }
}

/// What an entry of the journal says of its container, under docker's names.
fn fields(container: &Container, attributes: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let tag = tag(container, attributes);
    let known = [
        ("CONTAINER_ID", container.short_id().to_owned()),
        ("CONTAINER_ID_FULL", container.id.clone()),
        ("CONTAINER_NAME", container.name.clone()),
        ("CONTAINER_TAG", tag.clone()),
        ("IMAGE_NAME", container.document.spec.image.clone()),
        ("SYSLOG_IDENTIFIER", tag),
    ];
    let more = attributes.iter().filter(|(key, _)| *key != "tag");
    let more = more.map(|(key, value)| (field_name(key), value.clone()));
    more.chain(known.map(|(key, value)| (key.to_owned(), value))).collect()
}

/// What marks its messages.
fn tag(container: &Container, attributes: &BTreeMap<String, String>) -> String {
    attributes.get("tag").cloned().unwrap_or_else(|| container.short_id().to_owned())
}

/// The journal's names are capital letters, digits and underscores, no underscore first.
fn field_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    key.chars().map(plain).skip_while(|c| *c == '_').collect()
}

/// What a log's tag may name.
fn tag_field(container: &Container, name: &str) -> Option<String> {
    let image = container.image.as_ref();
    Some(match name {
        "ID" => container.short_id().to_owned(),
        "FullID" => container.id.clone(),
        "Name" => container.name.clone(),
        "ImageName" => container.document.spec.image.clone(),
        "ImageID" => image.map(|digest| digest.short().to_owned()).unwrap_or_default(),
        "ImageFullID" => image.map(ToString::to_string).unwrap_or_default(),
        "DaemonName" => "berth".to_owned(),
        _ => return None,
    })
}
