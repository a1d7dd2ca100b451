//! A manifest or index keeps the bytes that it came in; whatever it points to has a well-formed digest.
#![no_main]

use berth_oci::{Manifest, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for declared in [None, Some(media_type::OCI_MANIFEST), Some(media_type::OCI_INDEX)] {
        let Ok(manifest) = Manifest::parse(bytes.to_vec(), declared) else { continue };
        assert_eq!(manifest.raw(), bytes);
        for descriptor in manifest.blobs().chain(manifest.children()) {
            assert!(descriptor.digest.hex().len() >= 64);
        }
        let again = Manifest::parse_verified(bytes.to_vec(), Some(manifest.media_type()), manifest.digest());
        assert_eq!(again.expect("the same bytes"), manifest);
    }
});
