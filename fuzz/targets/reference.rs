//! A reference, a digest or a platform that reads, writes itself so that it reads again as the same.
#![no_main]

use berth_oci::{Digest, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().expect("its own words"), reference);
        assert!(!reference.repository().contains(".."), "it could leave a directory");
        let _ = reference.familiar();
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.as_str(), text);
        assert!(digest.hex().bytes().all(|b| b.is_ascii_hexdigit()), "it could name another file");
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().expect("its own words"), platform);
    }
});
