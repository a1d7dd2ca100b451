//! What becomes of a build: an image of the store, a directory, an archive, a registry's image.

use super::{BuildOptions, descriptors};
use crate::Engine;
use crate::images::Place;
use berth_build::{BuiltImage, Event, Layer, Listener};
use berth_oci::{AtPath, Context, Digest, Error, ImageConfig, Platforms, Result, Silent};
use berth_store::{ChangesOptions, Lease, Store, write_changes};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Somewhere that a result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildOutput {
    /// The image stays in the store, under its names.
    Store,
    /// The image goes to the registries of its names.
    Registry,
    /// The files go into a directory.
    Local(PathBuf),
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

/// The last part of a build.
pub(super) struct Export<'a> {
    pub(super) engine: &'a Engine,
    pub(super) options: &'a BuildOptions,
    pub(super) images: &'a [BuiltImage],
    pub(super) lease: &'a Lease,
    pub(super) listener: &'a dyn Listener,
}

/// The number of the step that progress shows for the export: after all others.
const STEP: usize = usize::MAX;

impl Export<'_> {
    /// Serves every output; answers the image's id, where one asked for an image.
    pub(super) fn all(&self) -> Result<Option<Digest>> {
        let outputs = &self.options.outputs;
        let wants_image = outputs.iter().any(|output| {
            !matches!(output, BuildOutput::Local(_) | BuildOutput::Tar(_) | BuildOutput::Nothing)
        });
        if !wants_image {
            for output in outputs {
                self.files(output)?;
            }
            return Ok(None);
        }
        let started = Instant::now();
        let name = match outputs.as_slice() {
            [BuildOutput::Oci(_) | BuildOutput::OciDirectory(_)] => "exporting to oci image format",
            [BuildOutput::Docker(_)] => "exporting to docker image format",
            _ => "exporting to image",
        };
        self.tell(Event::Started { step: STEP, name });
        let stays = outputs.iter().any(|output| matches!(output, BuildOutput::Store));
        let target = self.put(stays)?;
        for output in outputs {
            self.image(output, &target)?;
            self.files(output)?;
        }
        if !stays {
            self.forget(&target)?;
        }
        self.tell(Event::Done { step: STEP, elapsed: started.elapsed() });
        Ok(Some(target))
    }

    /// Puts the image into the store, with its names if it is to stay there.
    fn put(&self, stays: bool) -> Result<Digest> {
        let store = self.engine.store()?;
        let mut names = self.options.names.iter().filter(|_| stays);
        let first = names.next();
        let annotations = self.options.annotations.clone();
        let manifest = match self.images {
            [image] => store.put_image(&image.config, descriptors(image), annotations, first, self.lease)?,
            several => {
                let images: Vec<_> =
                    several.iter().map(|image| (image.config.clone(), descriptors(image))).collect();
                store.put_index(&images, annotations, first, self.lease)?
            }
        };
        let target = manifest.digest().clone();
        for name in names {
            store.tag(&target, name)?;
        }
        self.status(&format!("exporting manifest {target} done"));
        for image in self.images {
            self.status(&format!("exporting config {} done", config_digest(&image.config)));
        }
        for name in self.options.names.iter().filter(|_| stays) {
            self.status(&format!("naming to {name} done"));
        }
        Ok(target)
    }

    /// An image that was only in the store to be sent on.
    fn forget(&self, target: &Digest) -> Result<()> {
        let store = self.engine.store()?;
        match store.image(target)?.is_dangling() {
            true => store.remove_image(target),
            false => Ok(()),
        }
    }

    fn image(&self, output: &BuildOutput, target: &Digest) -> Result<()> {
        let from = Place::Store(target.to_string());
        let tag = self.options.names.first();
        let tag_text = tag.map(|name| name.tag().unwrap_or("latest").to_owned());
        let copy = |to: &Place| self.engine.copy(&from, to, &Platforms::All, &Silent).map(drop);
        match output {
            BuildOutput::Oci(path) => {
                make_way(path)?;
                copy(&Place::OciArchive(path.clone(), tag_text))
            }
            BuildOutput::OciDirectory(path) => copy(&Place::Layout(path.clone(), tag_text)),
            BuildOutput::Docker(path) => {
                make_way(path)?;
                copy(&Place::DockerArchive(path.clone(), tag.cloned()))
            }
            BuildOutput::Registry => {
                if self.options.names.is_empty() {
                    return Err(
                        Error::invalid("tag is needed when pushing to registry").hint("name it with -t")
                    );
                }
                for name in &self.options.names {
                    self.status(&format!("pushing manifest for {name}@{target}"));
                    copy(&Place::Registry(name.clone()))?;
                }
                Ok(())
            }
            BuildOutput::Store | BuildOutput::Local(_) | BuildOutput::Tar(_) | BuildOutput::Nothing => Ok(()),
        }
    }

    /// The image's files, of each platform in a directory of its own where there are several.
    fn files(&self, output: &BuildOutput) -> Result<()> {
        let name = match output {
            BuildOutput::Local(_) => "exporting to client directory",
            BuildOutput::Tar(_) => "exporting to client tarball",
            _ => return Ok(()),
        };
        let started = Instant::now();
        self.tell(Event::Started { step: STEP, name });
        for image in self.images {
            match output {
                BuildOutput::Local(path) => {
                    let path = match self.images.len() {
                        1 => path.clone(),
                        _ => path.join(image.platform.to_string().replace('/', "_")),
                    };
                    super::output_files::directory(self.engine.store()?, image, &path)?;
                }
                BuildOutput::Tar(path) => self.tar(image, path)?,
                _ => {}
            }
        }
        self.tell(Event::Done { step: STEP, elapsed: started.elapsed() });
        Ok(())
    }

    fn tar(&self, image: &BuiltImage, path: &Path) -> Result<()> {
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
