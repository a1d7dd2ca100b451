//! An image whose layers have another form than the registry gave them: plain tars, or tars compressed anew.
//!
//! Invariant: the config, and with it every diff ID, stays; only the manifest and so the image's digest change.

use berth_oci::{
    Descriptor, Digest, Error, ImageManifest, Manifest, ManifestBody, Result, Source, media_type,
};
use berth_store::{Packed, Packing, Store};
use std::collections::HashMap;
use std::io::Read;

/// A source that shows another manifest than the one below it.
pub(crate) struct Substitute<'a> {
    inner: &'a dyn Source,
    root: Manifest,
    made: HashMap<Digest, Packed>,
}

impl<'a> Substitute<'a> {
    /// The image with layers as plain tars: what needs no work at all.
    pub(crate) fn plain(store: &Store, manifest: &Manifest, inner: &'a dyn Source) -> Result<Self> {
        let (image, diff_ids) = parts(store, manifest)?;
        let sizes = store.layer_sizes(&diff_ids)?;
        let layers = diff_ids.into_iter().zip(sizes);
        let layers =
            layers.map(|(diff_id, size)| Descriptor::new(media_type::OCI_LAYER, diff_id, size)).collect();
        Ok(Self { inner, root: with_layers(image, layers), made: HashMap::new() })
    }

    /// The image with layers compressed anew; those whose compressed form is here stay as they are.
    pub(crate) fn compressed(store: &Store, manifest: &Manifest, inner: &'a dyn Source) -> Result<Self> {
        let (image, diff_ids) = parts(store, manifest)?;
        let mut made = HashMap::new();
        let mut layers = Vec::with_capacity(diff_ids.len());
        for (layer, diff_id) in image.layers.iter().zip(&diff_ids) {
            if store.has_blob(&layer.digest)? {
                layers.push(layer.clone());
                continue;
            }
            let layer = store.pack(diff_id, Packing::default())?;
            layers.push(layer.descriptor().clone());
            made.insert(layer.descriptor().digest.clone(), layer);
        }
        Ok(Self { inner, root: with_layers(image, layers), made })
    }
}

/// Why the first layer whose compressed form cannot be had cannot; each is asked for its first byte.
pub(crate) fn lost_layer(store: &Store, manifest: &Manifest, source: &dyn Source) -> Result<Option<Error>> {
    let Some(image) = manifest.image() else { return Ok(None) };
    for layer in
        image.layers.iter().filter(|layer| media_type::layer_compression(&layer.media_type).is_some())
    {
        if store.has_blob(&layer.digest)? {
            continue;
        }
        let asked = source.blob(layer, 0).and_then(|mut bytes| Ok(bytes.read_exact(&mut [0])?));
        match asked {
            Err(error) if error.kind() == berth_oci::Kind::Cancelled => return Err(error),
            Err(error) => return Ok(Some(error)),
            Ok(()) => {}
        }
    }
    Ok(None)
}

fn parts<'m>(store: &Store, manifest: &'m Manifest) -> Result<(&'m ImageManifest, Vec<Digest>)> {
    let image =
        manifest.image().ok_or_else(|| Error::invalid(format!("{} is no image", manifest.digest())))?;
    let diff_ids = store.config(manifest)?.1.rootfs.diff_ids;
    match diff_ids.len() == image.layers.len() {
        true => Ok((image, diff_ids)),
        false => {
            Err(Error::corrupt(format!("the config of {} counts its layers differently", manifest.digest())))
        }
    }
}

/// The manifest in OCI's words: docker's has no word for a plain tar in a registry.
fn with_layers(image: &ImageManifest, layers: Vec<Descriptor>) -> Manifest {
    let config = Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..image.config.clone() };
    let media_type = Some(media_type::OCI_MANIFEST.to_owned());
    let layers = layers.into_iter().map(in_oci_words).collect();
    Manifest::from_body(ManifestBody::Image(ImageManifest { media_type, config, layers, ..image.clone() }))
}

fn in_oci_words(layer: Descriptor) -> Descriptor {
    let oci = match layer.media_type.as_str() {
        media_type::DOCKER_LAYER => media_type::OCI_LAYER,
        media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
        media_type::DOCKER_LAYER_ZSTD => media_type::OCI_LAYER_ZSTD,
        _ => return layer,
    };
    Descriptor { media_type: oci.to_owned(), ..layer }
}

impl Source for Substitute<'_> {
    fn root(&self) -> Result<Manifest> {
        Ok(self.root.clone())
    }

    fn manifest(&self, descriptor: &Descriptor) -> Result<Manifest> {
        self.inner.manifest(descriptor)
    }

    fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        match self.made.get(&descriptor.digest) {
            Some(layer) => layer.open(offset),
            None => self.inner.blob(descriptor, offset),
        }
    }
}
