//! Whatever a Dockerfile says, reading and checking it ends; places are in the file, and an excerpt shows them.
#![no_main]

use berth_build::check::{Facts, check, outline, targets};
use berth_build::dockerfile::{Inputs, parse, requested_syntax};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = requested_syntax(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').count();
    match parse("Dockerfile", bytes) {
        Ok(file) => {
            assert!(!file.stages.is_empty());
            for stage in &file.stages {
                let inside = stage.instructions.iter().map(|instruction| instruction.span);
                for span in inside.chain([stage.span]) {
                    assert!((1..=span.last).contains(&span.first) && span.last <= lines);
                }
            }
            let _ = targets(&file);
            let _ = outline(&file, &Inputs::native());
        }
        Err(error) => {
            assert!(!error.message.is_empty());
            let _ = error.excerpt();
        }
    }
    let facts = Facts { inputs: Inputs::native(), ignore: None, base: &|_, _| None, all_stages: true };
    let report = check("Dockerfile", bytes, &facts);
    assert!(report.warnings.iter().chain(&report.advice).all(|warning| warning.span.first <= lines));
    let _ = (report.text(), report.json(), report.summary(true, "berth"));
});
