//! An image's configuration that reads is written so that it reads again as the same.
#![no_main]

use berth_oci::ImageConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = ImageConfig::parse(bytes) else { return };
    let _ = (config.platform(), config.created_at());
    let written = serde_json::to_vec(&config).expect("it came from JSON");
    assert_eq!(ImageConfig::parse(&written).expect("its own words"), config);
});
