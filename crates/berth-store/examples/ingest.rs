//! Ingests one layer file and says what it cost: `cargo run --release --example ingest -- LAYER [DIRECTORY] [dirs]`.
//!
//! Makes nothing up: the file is read from the page cache, everything else is what a pull does, sync included.
#![expect(clippy::print_stdout, reason = "a measurement is there to be seen")]

use berth_oci::{Descriptor, Error, Result};
use berth_store::layer::{Bounds, Form, IngestPlan, TAR, ingest, verify};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::invalid("usage: ingest LAYER [DIRECTORY] [dirs]");
    let layer = Path::new(arguments.first().ok_or_else(usage)?);
    let directory = Path::new(arguments.get(1).map_or(".", String::as_str)).join("ingest-example");
    let form =
        if arguments.get(2).is_some_and(|word| word == "dirs") { Form::Directory } else { Form::Erofs };
    fs::create_dir_all(&directory)?;
    let expected = describe(layer)?;
    let partial = directory.join("partial");
    let plan = IngestPlan {
        expected: Some(&expected),
        diff_id: None,
        temporary: &directory,
        partial: Some(&partial),
        keep_compressed: false,
        form,
        bounds: Bounds::default(),
    };
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let ingested = ingest(&plan, &|offset| {
        let mut file = File::open(layer)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    })?;
    let (entries, tar_size, index_size) = (ingested.entries, ingested.tar_size, ingested.index_size);
    let diff_id = ingested.diff_id.clone();
    let place = directory.join("layer");
    ingested.commit(&place)?;
    let (wall, cpu) = (begun.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!("wall {wall:.2} s, CPU {cpu:.2} s, peak {} KiB", peak_kib());
    println!("{entries} entries, tar {tar_size}, index {index_size}");
    if form == Form::Erofs {
        let begun = Instant::now();
        let bytes = verify(&place.join(TAR), &diff_id)?;
        println!("verify {:.2} GB/s", bytes as f64 / begun.elapsed().as_secs_f64() / 1e9);
    }
    fs::remove_dir_all(&directory).map_err(Into::into)
}

/// Size and digest, which also brings the file into the page cache.
fn describe(path: &Path) -> Result<Descriptor> {
    let mut hasher = berth_oci::Hasher::new(berth_oci::Algorithm::Sha256);
    let (mut file, mut buffer, mut size) = (File::open(path)?, vec![0; 1 << 20], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
    Ok(Descriptor::new(berth_oci::media_type::OCI_LAYER_GZIP, hasher.finish(), size))
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_kib() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap_or("?").trim().trim_end_matches(" kB").to_owned()
}
