//! An archive says the same whether it comes whole or in pieces, and never more than its bytes can hold.
#![no_main]

use berth_oci::Result;
use berth_store::tar::{Entry, EntryKind, Limits, Scanner, Visitor};
use libfuzzer_sys::fuzz_target;

/// What was heard.
#[derive(Default, PartialEq, Eq, Debug)]
struct Heard {
    entries: Vec<String>,
    bytes: Vec<u8>,
}

impl Visitor for Heard {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<()> {
        if let EntryKind::File(data) = &entry.kind {
            assert_eq!(data.offset % 512, 0);
            let mut end = 0;
            for segment in data.segments.unwrap_or_default() {
                assert!(segment.offset >= end && segment.length > 0, "parts overlap");
                end = segment.offset + segment.length;
            }
            assert!(end <= data.size, "a part lies outside of its file");
        }
        assert!(entry.mode <= 0o7777);
        self.entries.push(format!("{entry:?}"));
        Ok(())
    }

    fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend(bytes);
        Ok(())
    }
}

fn hear(bytes: &[u8], piece: usize) -> (Heard, bool) {
    let limits = Limits { entries: 1000, extension: 1 << 16, global: 1 << 14, trailing: 1 << 16 };
    let (mut heard, mut scanner) = (Heard::default(), Scanner::new(limits));
    let pushed = bytes.chunks(piece).try_for_each(|chunk| scanner.push(chunk, &mut heard));
    (heard, pushed.and_then(|()| scanner.finish()).is_ok())
}

fuzz_target!(|bytes: &[u8]| {
    let whole = hear(bytes, usize::MAX);
    assert!(whole.0.bytes.len() <= bytes.len());
    for piece in [1, 333, 512] {
        assert_eq!(hear(bytes, piece), whole);
    }
});
