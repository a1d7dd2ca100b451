//! `compression=`, `compression-level=`, `force-compression=`: how layers leave.

use super::fields::Fields;
use berth_oci::{Error, Result};
use berth_store::Packing;

/// Takes the fields out; `None`: nothing was said.
pub(super) fn packing(fields: &mut Fields<'_>) -> Result<Option<Packing>> {
    let level = fields.take("compression-level").filter(|level| !level.is_empty());
    let level = level
        .map(|text| {
            text.parse::<i32>().map_err(|_| Error::invalid(format!("compression-level={text} is no number")))
        })
        .transpose()?;
    let within = |name: &str, least: i32, most: i32| match level {
        Some(level) if !(least..=most).contains(&level) => Err(Error::invalid(format!(
            "compression-level={level}: {name} has levels from {least} to {most}"
        ))),
        level => Ok(level),
    };
    let packing = match (fields.take("compression").as_deref(), level) {
        (None | Some(""), None) => return Ok(None),
        (None | Some("" | "gzip"), _) => {
            within("gzip", 0, 9)?.map_or_else(Packing::default, |level| Packing::Gzip(level.unsigned_abs()))
        }
        (Some("zstd"), _) => Packing::Zstd(within("zstd", 1, 22)?.unwrap_or(3)),
        (Some("uncompressed"), None) => Packing::Plain,
        (Some("uncompressed"), Some(_)) => {
            return Err(Error::invalid("compression-level: what is uncompressed has no level"));
        }
        (Some(other), _) => {
            return Err(Error::unsupported(format!("compression={other} is not supported"))
                .hint("there are gzip, zstd and uncompressed"));
        }
    };
    Ok(Some(packing))
}
