//! `--attest`, `--sbom`, `--provenance`: what is said of an image beside it. Nothing, unless it is asked for.

use super::fields::{Fields, switch};
use berth_engine::{Attestations, ProvenanceDetail};
use berth_oci::{Error, Result};

/// Reads the flags; the later ones outdo the earlier ones, and `--sbom` and `--provenance` all others.
pub(super) fn read(attest: &[String], sbom: Option<&str>, provenance: Option<&str>) -> Result<Attestations> {
    let mut wanted = Attestations::default();
    for text in attest {
        one("--attest", text, &mut wanted)?;
    }
    for (flag, kind, text) in [("--sbom", "sbom", sbom), ("--provenance", "provenance", provenance)] {
        let Some(text) = text else { continue };
        let words = match text.contains('=') {
            true => format!("type={kind},{text}"),
            false => format!("type={kind},disabled={}", !switch(flag, text)?),
        };
        one(flag, &words, &mut wanted)?;
    }
    Ok(wanted)
}

fn one(flag: &'static str, text: &str, wanted: &mut Attestations) -> Result<()> {
    let mut fields = Fields::read(flag, text)?;
    let kind = fields.required("type")?;
    let is_on = !fields.switch("disabled")?.unwrap_or(false);
    match kind.as_str() {
        "sbom" => {
            if let Some(generator) = fields.take("generator") {
                return Err(Error::unsupported(format!(
                    "{flag}: there are no generators such as {generator}"
                ))
                .hint("berth lists the packages of dpkg and apk itself"));
            }
            wanted.sbom = is_on;
        }
        "provenance" => {
            if let Some(version) = fields.take("version").filter(|version| version != "v1") {
                return Err(Error::unsupported(format!(
                    "{flag}: provenance is written in version v1, not {version}"
                )));
            }
            let detail = match fields.take("mode").as_deref() {
                None | Some("min") => ProvenanceDetail::Min,
                Some("max") => ProvenanceDetail::Max,
                Some(other) => {
                    return Err(Error::invalid(format!("{flag}: mode {other:?} is neither min nor max")));
                }
            };
            wanted.provenance = is_on.then_some(detail);
        }
        other => {
            return Err(Error::invalid(format!("unknown attestation type {other:?}"))
                .hint("there are sbom and provenance"));
        }
    }
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_become_attestations() {
        use ProvenanceDetail::{Max, Min};
        for (attest, sbom, provenance, expected) in [
            (vec![], None, None, (false, None)),
            (vec!["type=sbom"], None, Some("true"), (true, Some(Min))),
            (vec!["type=provenance,mode=max"], Some("true"), None, (true, Some(Max))),
            (
                vec!["type=provenance", "type=sbom"],
                Some("false"),
                Some("mode=max,version=v1"),
                (false, Some(Max)),
            ),
            (vec!["type=provenance,disabled=true"], None, None, (false, None)),
        ] {
            let attest: Vec<String> = attest.into_iter().map(str::to_owned).collect();
            let found = read(&attest, sbom, provenance).unwrap();
            assert_eq!((found.sbom, found.provenance), expected, "{attest:?} {sbom:?} {provenance:?}");
        }
        for text in [
            "sbom",
            "type=other",
            "type=sbom,x=y",
            "type=sbom,generator=z",
            "type=provenance,mode=all",
            "type=provenance,version=v0.2",
        ] {
            assert!(read(&[text.to_owned()], None, None).is_err(), "{text}");
        }
    }
}
