//! What becomes of a build: an image of the store, a directory, an archive, a registry's image.
//!
//! Not here: what the image is made of (`image_set.rs`). Invariant: an image gets its name when all of it is there.

use super::BuildOptions;
use super::annotations::BuildAnnotation;
use super::attest::Predicate;
use super::image_set::{ImageForm, ImageParts, ImageSet};
use crate::Engine;
use crate::images::{Origins, write_archive};
use berth_build::{BuiltImage, Event, Layer, Listener};
use berth_oci::{
    AtPath, Context, Descriptor, Digest, Error, ImageConfig, Platforms, Reference, Result, Silent, Sink, copy,
};
use berth_store::archives::{ArchiveFormat, Layout};
use berth_store::{ChangesOptions, IngestOptions, Lease, Store, write_changes};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Somewhere that a result goes, and in which form.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildOutput {
    /// Where.
    pub to: OutputPlace,
    /// In which form an image goes there.
    pub form: ImageForm,
    /// Its names there; those of the build where there are none.
    pub names: Vec<Reference>,
    /// What is said of it there, beside what is said everywhere.
    pub annotations: Vec<BuildAnnotation>,
}

/// Where a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputPlace {
    /// The image stays in the store, under its names.
    Store,
    /// The image goes to the registries of its names.
    Registry {
        /// Without a tag: only by its digest.
        by_digest: bool,
    },
    /// The files go into a directory.
    Local {
        /// Which.
        directory: PathBuf,
        /// Whether each of several platforms gets a directory of its own.
        split: bool,
    },
    /// The files go into a tar.
    Tar(PathBuf),
    /// The image goes into a tar in the OCI layout.
    Oci(PathBuf),
    /// The image goes into an OCI layout directory.
    OciDirectory(PathBuf),
    /// The image goes into a tar as `docker save` writes it.
    Docker(PathBuf),
    /// Only the steps' results stay.
    Nothing,
}

impl From<OutputPlace> for BuildOutput {
    fn from(to: OutputPlace) -> Self {
        let form = if to == OutputPlace::Store { ImageForm::STORED } else { ImageForm::leaving() };
        Self { to, form, names: Vec::new(), annotations: Vec::new() }
    }
}

impl OutputPlace {
    fn wants_image(&self) -> bool {
        !matches!(self, Self::Local { .. } | Self::Tar(_) | Self::Nothing)
    }
}

/// The last part of a build.
pub(super) struct Export<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a BuildOptions,
    pub(super) images: &'a [BuiltImage],
    pub(super) predicates: &'a [Vec<Predicate>],
    pub(super) lease: &'a Lease,
    pub(super) listener: &'a dyn Listener,
}

/// The number of the step that progress shows for the export: after all others.
const STEP: usize = usize::MAX;

impl Export<'_> {
    /// Serves every output; answers the image's descriptor, where one asked for an image: the store's, if it is there.
    pub(super) fn all(&self) -> Result<Option<Descriptor>> {
        let outputs = &self.options.outputs;
        for output in outputs {
            self.files(output)?;
        }
        let images: Vec<&BuildOutput> = outputs.iter().filter(|output| output.to.wants_image()).collect();
        if images.is_empty() {
            return Ok(None);
        }
        let started = Instant::now();
        let name = match images.as_slice() {
            [BuildOutput { to: OutputPlace::Oci(_) | OutputPlace::OciDirectory(_), .. }] => {
                "exporting to oci image format"
            }
            [BuildOutput { to: OutputPlace::Docker(_), .. }] => "exporting to docker image format",
            _ => "exporting to image",
        };
        self.tell(Event::Started { step: STEP, name });
        let mut found: Option<Descriptor> = None;
        for output in images {
            let descriptor = self.image(output)?;
            if found.is_none() || output.to == OutputPlace::Store {
                found = Some(descriptor);
            }
        }
        self.tell(Event::Done { step: STEP, elapsed: started.elapsed() });
        Ok(found)
    }

    fn names<'o>(&'o self, output: &'o BuildOutput) -> &'o [Reference] {
        if output.names.is_empty() { &self.options.names } else { &output.names }
    }

    fn image(&self, output: &BuildOutput) -> Result<Descriptor> {
        let names = self.names(output);
        let annotations = [self.options.annotations.as_slice(), &output.annotations].concat();
        let origins = Origins::new(self.engine.client(), &Silent);
        let parts = ImageParts {
            engine: self.engine,
            images: self.images,
            predicates: self.predicates,
            annotations: &annotations,
            name: names.first().map(Reference::familiar),
        };
        let image = parts.assemble(output.form, &origins)?;
        let root = image.root.descriptor();
        self.status(&format!("exporting manifest {} done", root.digest));
        for image in self.images {
            self.status(&format!("exporting config {} done", config_digest(&image.config)));
        }
        let send = |sink: &dyn Sink| {
            copy(&image, sink, &self.engine.copying(&Platforms::All), &Silent)
                .map(|root| root.digest().clone())
        };
        let first = names.first();
        match &output.to {
            OutputPlace::Store => self.store(&image, names)?,
            OutputPlace::Registry { by_digest } => self.registry(&image, names, *by_digest)?,
            OutputPlace::Oci(path) => {
                make_way(path)?;
                write_archive(path, ArchiveFormat::Oci, first.cloned(), send)?;
            }
            OutputPlace::Docker(path) => {
                make_way(path)?;
                write_archive(path, ArchiveFormat::Docker, first.cloned(), send)?;
            }
            OutputPlace::OciDirectory(path) => {
                let tag = first.map(|name| name.tag().unwrap_or("latest"));
                send(&Layout::create(path)?.sink(first, tag))?;
            }
            OutputPlace::Local { .. } | OutputPlace::Tar(_) | OutputPlace::Nothing => {}
        }
        Ok(root)
    }

    /// Into the store, under all of its names.
    fn store(&self, image: &ImageSet<'_>, names: &[Reference]) -> Result<()> {
        let store = self.engine.store()?;
        let sink = store.sink(names.first(), IngestOptions::default(), self.lease);
        let root = copy(image, &sink, &self.engine.copying(&Platforms::All), &Silent)?;
        for name in names.iter().skip(1) {
            store.tag(root.digest(), name)?;
        }
        for name in names {
            self.status(&format!("naming to {name} done"));
        }
        Ok(())
    }

    fn registry(&self, image: &ImageSet<'_>, names: &[Reference], by_digest: bool) -> Result<()> {
        if names.is_empty() {
            return Err(Error::invalid("tag is needed when pushing to registry").hint("name it with -t"));
        }
        let store = self.engine.store()?;
        let digest = image.root.descriptor().digest;
        let mount_from = |digest: &Digest| store.origins(digest).unwrap_or_default();
        for name in names {
            let place = if by_digest { name.name_only().with_digest(digest.clone()) } else { name.clone() };
            self.status(&format!("pushing manifest for {name}@{digest}"));
            let sink = self.engine.client().sink(&place, &mount_from, &Silent)?;
            copy(image, &sink, &self.engine.copying(&Platforms::All), &Silent)?;
        }
        Ok(())
    }

    /// The image's files, of each platform in a directory of its own where there are several.
    fn files(&self, output: &BuildOutput) -> Result<()> {
        let name = match &output.to {
            OutputPlace::Local { .. } => "exporting to client directory",
            OutputPlace::Tar(_) => "exporting to client tarball",
            _ => return Ok(()),
        };
        let started = Instant::now();
        self.tell(Event::Started { step: STEP, name });
        for image in self.images {
            match &output.to {
                OutputPlace::Local { directory, split } => {
                    let path = match self.images.len() > 1 && *split {
                        false => directory.clone(),
                        true => directory.join(image.platform.to_string().replace('/', "_")),
                    };
                    super::output_files::directory(self.engine.store()?, image, &path)?;
                }
                OutputPlace::Tar(path) => self.tar(image, path)?,
                _ => {}
            }
        }
        self.tell(Event::Done { step: STEP, elapsed: started.elapsed() });
        Ok(())
    }

    fn tar(&self, image: &BuiltImage, path: &Path) -> Result<()> {
        if self.images.len() > 1 {
            return Err(Error::unsupported("a tar holds the files of one platform")
                .hint("build for one, or use type=local or type=oci"));
        }
        let file = File::create(path).at(path)?;
        whole_tree(self.engine.store()?, image, self.options.request.epoch, &mut BufWriter::new(file))
    }

    fn status(&self, text: &str) {
        self.tell(Event::Status { step: STEP, text });
    }

    fn tell(&self, event: Event<'_>) {
        self.listener.event(event);
    }
}

/// An archive that is there already is written anew, never added to.
fn make_way(path: &Path) -> Result<()> {
    match path.is_file() {
        true => fs::remove_file(path).at(path),
        false => Ok(()),
    }
}
/// All layers as one tar: what a view of them shows.
fn whole_tree(store: &Store, image: &BuiltImage, latest: Option<i64>, out: &mut dyn Write) -> Result<()> {
    let place = store.workplace()?;
    let ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let view = place.view(&ids)?;
    write_changes(&view.path(), &ChangesOptions { latest, ..ChangesOptions::default() }, out)?;
    Ok(out.flush()?)
}

/// The same image with one layer.
pub(super) fn squashed(store: &Store, image: &BuiltImage, lease: &Lease) -> Result<BuiltImage> {
    let (descriptor, diff_id) = store
        .add_written_layer(lease, |out| whole_tree(store, image, None, out))
        .context(|| "cannot squash the image")?;
    let mut config = image.config.clone();
    config.rootfs.diff_ids = vec![diff_id.clone()];
    // One layer cannot be said to come from many steps: all but the last one made none.
    let last = config.history.len().saturating_sub(1);
    for (at, entry) in config.history.iter_mut().enumerate() {
        entry.empty_layer = at != last;
    }
    Ok(BuiltImage { config, layers: vec![Layer { descriptor, diff_id }], ..image.clone() })
}

/// The digest that the configuration will have.
pub(super) fn config_digest(config: &ImageConfig) -> Digest {
    Digest::of(&serde_json::to_vec(config).expect("a config has string keys only"))
}
