//! Whatever a server says it wants to see, reading it ends, and yields only challenges that can be answered.
#![no_main]

use berth_distribution::auth::{Challenge, parse_challenges};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|headers: &str| {
    for challenge in parse_challenges(headers.lines()) {
        if let Challenge::Bearer { realm, .. } = challenge {
            assert!(!realm.is_empty(), "there is nobody to ask for a token");
        }
    }
});
