//! Whatever patterns an ignore file holds, asking them ends, and walking down says the same as asking at once.
#![no_main]

use berth_build::ignore::{Ignore, IgnoreFile, Inherited};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // The last line is the path that is asked about.
    let (patterns, path) = text.rsplit_once('\n').unwrap_or((text, "a/b/c"));
    let Ok(ignore) = Ignore::new(&IgnoreFile::parse(".dockerignore", patterns.as_bytes())) else { return };
    let path = berth_build::ignore::clean(path);
    let path = path.trim_start_matches('/');
    let mut state = (false, Inherited::default());
    for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
        let was_left_out = state.0;
        state = ignore.step(&state.1, &path[..at]);
        if was_left_out && !state.0 {
            let parent = path[..at].rsplit_once('/').map_or("", |(parent, _)| parent);
            assert!(ignore.may_bring_back_below(parent), "{parent} would have been skipped");
        }
    }
    assert_eq!(state.0, ignore.matches(path));
    assert_eq!(ignore.line(path).is_some(), ignore.matches(path));
});
