//! `--cache-from` and `--cache-to`: words into places.

use super::fields::Fields;
use super::packing::packing;
use berth_engine::{CachePlace, CacheSink, CacheSource};
use berth_oci::{Digest, Error, Reference, Result};

/// Where steps may be known from.
pub(super) fn sources(texts: &[String]) -> Result<Vec<CacheSource>> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| source(text)).collect()
}

fn source(text: &str) -> Result<CacheSource> {
    if !text.contains('=') {
        return Ok(CacheSource::Registry(text.parse::<Reference>()?.or_latest()));
    }
    let mut fields = Fields::read("--cache-from", text)?;
    let found = match fields.required("type")?.as_str() {
        "registry" | "inline" => {
            CacheSource::Registry(fields.required("ref")?.parse::<Reference>()?.or_latest())
        }
        "local" => CacheSource::Local {
            directory: fields.required("src")?.into(),
            tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
            digest: fields.take("digest").map(|digest| digest.parse::<Digest>()).transpose()?,
        },
        other => return Err(unknown("--cache-from", other)),
    };
    fields.finish()?;
    Ok(found)
}

/// Where steps become known. `is_inline`: the old build argument for that was given.
pub(super) fn sinks(texts: &[String], is_inline: bool) -> Result<Vec<CacheSink>> {
    let mut sinks =
        texts.iter().filter(|text| !text.is_empty()).map(|text| sink(text)).collect::<Result<Vec<_>>>()?;
    if is_inline && !sinks.iter().any(|sink| sink.place == CachePlace::Inline) {
        sinks.push(sink("type=inline")?);
    }
    Ok(sinks)
}

fn sink(text: &str) -> Result<CacheSink> {
    let whole;
    let mut fields = match text.contains('=') {
        true => Fields::read("--cache-to", text)?,
        false => {
            whole = format!("type=registry,ref={text}");
            Fields::read("--cache-to", &whole)?
        }
    };
    let place = match fields.required("type")?.as_str() {
        "registry" => CachePlace::Registry(fields.required("ref")?.parse::<Reference>()?.or_latest()),
        "local" => CachePlace::Local {
            directory: fields.required("dest")?.into(),
            tag: fields.take("tag").unwrap_or_else(|| "latest".to_owned()),
        },
        "inline" => CachePlace::Inline,
        other => return Err(unknown("--cache-to", other)),
    };
    let all_steps = match fields.take("mode").as_deref() {
        None | Some("min") => false,
        Some("max") if place == CachePlace::Inline => {
            return Err(Error::unsupported(
                "an inline cache holds the steps of its image alone: mode=max is for others",
            ));
        }
        Some("max") => true,
        Some(other) => {
            return Err(Error::invalid(format!("--cache-to: mode {other:?} is neither min nor max")));
        }
    };
    let packing = if place == CachePlace::Inline { None } else { packing(&mut fields)? };
    for key in ["image-manifest", "oci-mediatypes"] {
        if fields.switch(key)? == Some(false) {
            return Err(Error::unsupported(format!(
                "--cache-to: {key}=false: a cache is an OCI image manifest"
            )));
        }
    }
    // All layers of a cache are packed in one way.
    fields.switch("force-compression")?;
    let ignore_error = fields.switch("ignore-error")?.unwrap_or(false);
    fields.finish()?;
    Ok(CacheSink { place, all_steps, packing: packing.unwrap_or_default(), ignore_error })
}

fn unknown(flag: &str, kind: &str) -> Error {
    Error::unsupported(format!("{flag} type={kind} is not supported"))
        .hint("there are registry, local and inline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_places() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let shown = |result: Result<String>| result.unwrap_or_else(|error| format!("no: {error}"));
        for (text, expected) in [
            ("h:5/x", "Registry h:5/x:latest"),
            ("type=registry,ref=x:1", "Registry docker.io/library/x:1"),
            ("type=local,src=/d", "Local /d latest None"),
            ("type=local,src=/d,tag=t", "Local /d t None"),
            ("type=gha", "no: --cache-from type=gha is not supported"),
            ("type=registry", "no: --cache-from type=registry: ref is required"),
            ("type=local,src=/d,x=y", "no: --cache-from type=local,src=/d,x=y: x is not supported"),
        ] {
            let found = sources(&texts(&[text])).map(|found| match &found[0] {
                CacheSource::Registry(reference) => format!("Registry {reference}"),
                CacheSource::Local { directory, tag, digest } => {
                    format!("Local {} {tag} {digest:?}", directory.display())
                }
            });
            assert_eq!(shown(found), expected, "{text}");
        }
        for (text, expected) in [
            ("h:5/x", "false Gzip(6) false"),
            ("type=local,dest=/d,mode=max,compression=zstd,ignore-error=true", "true Zstd(3) true"),
            ("type=inline", "false Gzip(6) false"),
            ("type=registry,ref=x,compression=gzip,compression-level=9", "false Gzip(9) false"),
            (
                "type=inline,mode=max",
                "no: an inline cache holds the steps of its image alone: mode=max is for others",
            ),
            ("type=registry,ref=x,compression=estargz", "no: compression=estargz is not supported"),
            (
                "type=registry,ref=x,compression-level=10",
                "no: compression-level=10: gzip has levels from 0 to 9",
            ),
            ("type=local,dest=/d,mode=all", "no: --cache-to: mode \"all\" is neither min nor max"),
            (
                "type=registry,ref=x,image-manifest=false",
                "no: --cache-to: image-manifest=false: a cache is an OCI image manifest",
            ),
        ] {
            let found = sinks(&texts(&[text]), false).map(|found| {
                format!("{} {:?} {}", found[0].all_steps, found[0].packing, found[0].ignore_error)
            });
            assert_eq!(shown(found), expected, "{text}");
        }
        assert_eq!(sinks(&[], true).unwrap().len(), 1);
        assert_eq!(sinks(&texts(&["type=inline"]), true).unwrap().len(), 1);
    }
}
