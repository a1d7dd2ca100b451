//! A pull that is broken off goes on where it stopped: over all attempts, each byte crosses the wire about once.

use super::support::{Image, Random, Registry, Sealed, many_layers};

const BREAKS: u64 = 10;
/// What a break may cost: the buffers between the wire and the file.
const TOLERANCE: f64 = 1.10;

fn image() -> Image {
    many_layers(&["x", "y", "z"].map(str::to_owned), 24 << 20)
}

/// Sizes of the pieces between the breaks, at random places, all of them inside the image.
fn pieces(whole: u64) -> Vec<u64> {
    let mut random = Random(0x5eed_0f0f_b3a7);
    let mut places: Vec<u64> = (0..BREAKS).map(|_| random.below(whole * 9 / 10)).collect();
    places.sort_unstable();
    let starts = [0].into_iter().chain(places.clone());
    starts.zip(&places).map(|(start, end)| (end - start).max(1)).collect()
}

fn assert_about_once(registry: &Registry, image: &Image) {
    let (sent, whole) = (registry.sent() as f64, image.size() as f64);
    assert!(sent >= whole, "{sent} bytes cannot be the whole image of {whole}");
    assert!(sent <= whole * TOLERANCE, "each byte crossed the wire {:.2} times", sent / whole);
}

#[test]
fn after_kill_9_at_ten_places() {
    let (sealed, registry, image) = (Sealed::new(), Registry::start(), image());
    let reference = registry.add("resume/killed", &image);
    let mut broken = 0;
    for piece in pieces(image.size()) {
        registry.let_through(piece);
        let mut child = sealed.spawn(&["pull", "--quiet", &reference]);
        let stalled = registry.wait_until_stalled(|| child.try_wait().expect("it is our child").is_some());
        assert!(stalled, "the pull ended before its line was broken");
        registry.wait_until_read();
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        broken += 1;
        sealed.check().expect("after the kill");
    }
    assert_eq!(broken, BREAKS);
    registry.let_through(u64::MAX);
    sealed.ok(&["pull", "--quiet", &reference]);
    sealed.check().expect("after the last pull");
    assert_about_once(&registry, &image);
}

#[test]
fn although_the_line_breaks_at_ten_places() {
    let (sealed, registry, image) = (Sealed::new(), Registry::start(), image());
    let reference = registry.add("resume/cut", &image);
    registry.break_after(&pieces(image.size()));
    sealed.ok(&["pull", "--quiet", &reference]);
    assert_eq!(registry.breaks_left(), 0, "the pull ended before its line was broken");
    sealed.check().expect("after the pull");
    assert_about_once(&registry, &image);
}
