//! How the binary is linked: relocations are packed (`DT_RELR`), a sixtieth of their size. Every command, and every
//! monitor of a container, is a start of this binary, and the loader reads all of them each time; glibc has known the
//! form since 2.36. A linker that does not know it says so and goes on.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
