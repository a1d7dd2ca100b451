//! overlayfs' own signs on files, under the names that the kernel reads them by.
//!
//! Only the machine's root writes attributes of `trusted.`; an overlay of a user namespace is mounted with `userxattr` and
//! has its signs in `user.`. Invariant: what is written here is what the overlay above it reads.

use std::ffi::CStr;
use std::sync::OnceLock;

/// A directory that hides what lies below it has this with the value `y`.
#[must_use]
pub fn opaque() -> &'static CStr {
    if is_of_a_user() { c"user.overlay.opaque" } else { c"trusted.overlay.opaque" }
}

/// One that was renamed has this, where that is switched on.
pub(crate) fn redirect() -> &'static CStr {
    if is_of_a_user() { c"user.overlay.redirect" } else { c"trusted.overlay.redirect" }
}

/// Whether we are in a user namespace, which nobody leaves: asked once.
pub(crate) fn is_of_a_user() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    // Where nobody tells (no `/proc`), nothing else would work either.
    *ANSWER.get_or_init(|| berth_sys::users::is_initial().is_ok_and(|initial| !initial))
}
