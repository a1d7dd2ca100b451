//! berth: container images and containers, with docker's command line and no daemon.
//!
//! Here: words in, words out. Not here: what they do (`berth-engine`). Invariant: whatever this process was
//! started as is decided first, before threads, files or arguments.

mod cleanup;
mod cli;
mod console;
mod exit;
mod filters;
mod format;
mod progress;
mod settings;
mod terminal;
mod user;

use settings::Persona;
use std::ffi::OsString;

fn main() {
    restore_sigpipe();
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = berth_runtime::role(&words).or_else(|| cleanup::role(&words)) {
        exit::end(code);
    }
    if let Some(ours) = cli::oci_runtime::words_for_us(&words) {
        exit::finish(cli::oci_runtime::run(&ours, &words), Persona::Berth);
    }
    let program = words.first().map_or_else(String::new, |word| word.to_string_lossy().into_owned());
    let persona = Persona::of(&program);
    exit::finish(cli::run(persona, words), persona)
}

/// Rust ignores SIGPIPE; `berth images | head` should end as `ls | head` does.
fn restore_sigpipe() {
    berth_sys::signal::restore_default_sigpipe();
}
