//! The first of the two threads: reads, inflates, and hands buffers over. A fixed set of buffers goes round, so the
//! faster thread waits for the slower one and memory stays where it is.

use super::inflate::Inflater;
use super::settle::Compressed;
use berth_oci::{Error, Result};
use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender};

/// Bytes of a buffer, and how many there are.
pub(super) const BUFFER: usize = 128 << 10;
pub(super) const BUFFERS: usize = 8;

/// A buffer on its way round.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; BUFFER].into_boxed_slice(), length: 0 }
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// Reads until it is full or there is nothing left.
    pub(super) fn fill(&mut self, reader: &mut dyn Read) -> Result<()> {
        self.length = 0;
        while self.length < self.bytes.len() {
            match reader.read(&mut self.bytes[self.length..]) {
                Ok(0) => break,
                Ok(count) => self.length += count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// What the second thread gets.
pub(super) enum Parcel {
    /// Bytes as they came.
    Compressed(Buffer),
    /// Bytes of the tar, and how many compressed ones had been read then.
    Plain { buffer: Buffer, compressed: u64 },
    /// Bytes that are both.
    Both(Buffer),
}

/// The way to the second thread and back.
pub(super) struct Belt {
    pub(super) to: SyncSender<Parcel>,
    pub(super) empty: Receiver<Buffer>,
}

/// The other thread has ended; it knows why.
pub(super) struct Gone;

impl Belt {
    fn send(&self, parcel: Parcel) -> Result<(), Gone> {
        self.to.send(parcel).map_err(|_| Gone)
    }

    /// Sends a buffer and takes an empty one.
    fn exchange(&self, parcel: Parcel) -> Result<Buffer, Gone> {
        self.send(parcel)?;
        self.empty()
    }

    fn empty(&self) -> Result<Buffer, Gone> {
        self.empty.recv().map_err(|_| Gone)
    }
}

/// Why feeding ended early.
pub(super) enum Stop {
    Gone,
    /// The source failed; what came before is good.
    Source(Error),
    /// The bytes are wrong.
    Bytes(Error),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// Feeds everything; `first` has been read already. `here` takes the compressed bytes in on this thread, else they
/// travel along. The inflater comes back to be asked whether that was all.
pub(super) fn feed(
    belt: &Belt,
    first: Buffer,
    reader: &mut dyn Read,
    mut inflater: Option<Inflater>,
    mut here: Option<&mut Compressed>,
) -> Result<Option<Inflater>, Stop> {
    let mut input = first;
    let mut output = belt.empty()?;
    output.length = 0;
    let mut read = 0;
    while input.length > 0 {
        read += input.length as u64;
        if let Some(compressed) = here.as_deref_mut() {
            compressed.take(input.filled()).map_err(Stop::Bytes)?;
        }
        if let Some(inflater) = &mut inflater {
            output = inflate(belt, inflater, &input, output, read)?;
        }
        input = match (&inflater, &here) {
            (None, _) => belt.exchange(Parcel::Both(input))?,
            (Some(_), None) => belt.exchange(Parcel::Compressed(input))?,
            (Some(_), Some(_)) => input,
        };
        if let Err(error) = input.fill(reader) {
            remember(belt, input, here)?;
            return Err(Stop::Source(error));
        }
    }
    if let Some(inflater) = &mut inflater {
        output = inflate(belt, inflater, &input, output, read)?;
        belt.send(Parcel::Plain { buffer: output, compressed: read })?;
    }
    Ok(inflater)
}

/// The source broke in the middle of a buffer: the next try need not fetch these bytes again.
fn remember(belt: &Belt, input: Buffer, here: Option<&mut Compressed>) -> Result<(), Stop> {
    match here {
        Some(compressed) => compressed.take(input.filled()).map_err(Stop::Bytes),
        None => belt.send(Parcel::Compressed(input)).map_err(Stop::from),
    }
}

/// Inflates a whole buffer; full outputs go on their way, the one begun comes back.
fn inflate(
    belt: &Belt,
    inflater: &mut Inflater,
    input: &Buffer,
    mut output: Buffer,
    read: u64,
) -> Result<Buffer, Stop> {
    let mut from = 0;
    loop {
        let (taken, made) =
            inflater.run(&input.filled()[from..], &mut output.bytes[output.length..]).map_err(Stop::Bytes)?;
        from += taken;
        output.length += made;
        if output.length == output.bytes.len() {
            belt.send(Parcel::Plain { buffer: output, compressed: read })?;
            output = belt.empty()?;
            output.length = 0;
            continue;
        }
        if made == 0 && (taken == 0 || from == input.length) {
            return Ok(output);
        }
    }
}
