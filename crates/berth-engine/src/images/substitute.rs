//! An image whose layers have another form than the registry gave them: plain tars.
//!
//! Invariant: the config, and with it every diff ID, stays; only the manifest and so the image's digest change.

use super::composed::{Composed, Parts};
use berth_oci::{
    Descriptor, Digest, Error, ImageManifest, Manifest, ManifestBody, Result, Source, media_type,
};
use berth_store::Store;

/// The image with layers as plain tars: what needs no work at all.
pub(crate) fn plain<'a>(
    store: &Store,
    manifest: &Manifest,
    inner: &'a dyn Source,
) -> Result<Composed<&'a dyn Source>> {
    let (image, diff_ids) = parts(store, manifest)?;
    let sizes = store.layer_sizes(&diff_ids)?;
    let layers = diff_ids.into_iter().zip(sizes);
    let layers =
        layers.map(|(diff_id, size)| Descriptor::new(media_type::OCI_LAYER, diff_id, size)).collect();
    Ok(Composed { root: with_layers(image, layers), parts: Parts::default(), inner })
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

/// An image's manifest and the diff IDs of its layers.
pub(super) fn parts<'m>(store: &Store, manifest: &'m Manifest) -> Result<(&'m ImageManifest, Vec<Digest>)> {
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

/// The manifest in OCI's words: docker's has no word for a plain tar.
fn with_layers(image: &ImageManifest, layers: Vec<Descriptor>) -> Manifest {
    let config = Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..image.config.clone() };
    let media_type = Some(media_type::OCI_MANIFEST.to_owned());
    Manifest::from_body(ManifestBody::Image(ImageManifest { media_type, config, layers, ..image.clone() }))
}
