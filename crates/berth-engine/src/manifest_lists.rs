//! Manifest lists in the making: `manifest create`, `annotate`, `push`, kept in the store's directory until then.
//!
//! Invariant: a list is one file that is replaced by a rename; its members are at their registries and stay there.

use crate::Engine;
use berth_distribution::Client;
use berth_oci::{
    AtPath, CopyOptions, Descriptor, Digest, Error, ImageConfig, ImageIndex, Kind, Manifest, ManifestBody,
    Platform, Platforms, Reference, Result, Silent, Sink, Source, Verified, copy, media_type,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Read;
use std::path::PathBuf;

/// A list in the making.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestList {
    /// What it will be called.
    pub name: Reference,
    /// Its members, in the order they came.
    pub members: Vec<Member>,
}

/// An image of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it was called when it was added.
    pub name: Reference,
    /// Its manifest, with the platform it is listed for.
    pub descriptor: Descriptor,
}

/// Changes to the platform of a member; what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// The operating system.
    pub os: Option<String>,
    /// The processor.
    pub architecture: Option<String>,
    /// Its variant.
    pub variant: Option<String>,
    /// The version of the operating system.
    pub os_version: Option<String>,
    /// Its features.
    pub os_features: Vec<String>,
}

/// A list that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedList {
    /// Its members.
    pub members: Vec<Digest>,
    /// Where they are now.
    pub repository: Reference,
    /// The list itself.
    pub digest: Digest,
}

/// An image's configuration is smaller than this.
const CONFIG_LIMIT: u64 = 8 << 20;

impl ManifestList {
    /// As a registry will have it.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest::from_body(ManifestBody::Index(ImageIndex {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: self.members.iter().map(|member| member.descriptor.clone()).collect(),
            subject: None,
            annotations: Default::default(),
        }))
    }

    fn annotate(&mut self, member: &Reference, change: &Annotation) -> Result<()> {
        let list = self.name.familiar();
        let found = self.members.iter_mut().find(|known| known.name == *member).ok_or_else(|| {
            Error::not_found(format!("manifest for image {} does not exist in {list}", member.familiar()))
        })?;
        let before = found.descriptor.platform.clone().unwrap_or_else(Platform::host);
        let or_before = |new: &Option<String>, old: &str| new.clone().unwrap_or_else(|| old.to_owned());
        let (os, architecture) =
            (or_before(&change.os, &before.os), or_before(&change.architecture, &before.architecture));
        let is_known = format!("{os}/{architecture}").parse::<Platform>().is_ok()
            && architecture.parse::<Platform>().is_ok();
        if !is_known {
            return Err(Error::invalid(format!(
                "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
            )));
        }
        found.descriptor.platform = Some(Platform {
            os,
            architecture,
            variant: change.variant.clone().or(before.variant),
            os_version: change.os_version.clone().or(before.os_version),
            os_features: if change.os_features.is_empty() {
                before.os_features
            } else {
                change.os_features.clone()
            },
        });
        Ok(())
    }
}

impl Engine {
    /// Begins a list, or adds to it, images of registries.
    ///
    /// # Errors
    /// `Conflict`: there is such a list and `amend` is false; an image does not exist or is a list itself.
    pub fn create_manifest_list(
        &self,
        name: &Reference,
        members: &[Reference],
        amend: bool,
        insecure: bool,
    ) -> Result<()> {
        let mut list = match self.find_manifest_list(name)? {
            Some(_) if !amend => {
                return Err(Error::conflict(
                    "refusing to amend an existing manifest list with no --amend flag",
                ));
            }
            Some(list) => list,
            None => ManifestList { name: name.clone(), members: Vec::new() },
        };
        for member in members {
            let descriptor = described(&self.client_for(member, insecure), member)?;
            list.members.retain(|known| known.name != *member);
            list.members.push(Member { name: member.clone(), descriptor });
        }
        self.keep_manifest_list(&list)
    }

    /// Changes what a member of a list is listed for.
    ///
    /// # Errors
    /// No such list or member, or no such platform.
    pub fn annotate_manifest(&self, list: &Reference, member: &Reference, change: &Annotation) -> Result<()> {
        let mut list = self.manifest_list(list)?;
        list.annotate(member, change)?;
        self.keep_manifest_list(&list)
    }

    /// A list in the making, if there is one of that name.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn find_manifest_list(&self, name: &Reference) -> Result<Option<ManifestList>> {
        let path = self.manifest_list_path(name)?;
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|e| Error::corrupt(format!("`{}` is no manifest list: {e}", path.display()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path),
        }
    }

    /// The same, where there must be one.
    ///
    /// # Errors
    /// There is none.
    pub fn manifest_list(&self, name: &Reference) -> Result<ManifestList> {
        self.find_manifest_list(name)?
            .ok_or_else(|| Error::not_found(format!("No such manifest: {}", name.familiar())))
    }

    /// A manifest at a registry, and the descriptor that a list would have of it.
    ///
    /// # Errors
    /// There is none, or the registry cannot be reached.
    pub fn remote_manifest(&self, name: &Reference, insecure: bool) -> Result<Manifest> {
        self.client_for(name, insecure).source(name, &Silent)?.root().map_err(|error| no_such(error, name))
    }

    /// The platform of an image at a registry, by its config.
    ///
    /// # Errors
    /// As [`remote_manifest`](Self::remote_manifest).
    pub fn remote_platform(
        &self,
        name: &Reference,
        manifest: &Manifest,
        insecure: bool,
    ) -> Result<Option<Platform>> {
        platform_of(&self.client_for(name, insecure).source(name, &Silent)?, manifest)
    }

    /// Sends a list and what its repository lacks of its members to the registry.
    ///
    /// # Errors
    /// No such list, or the registry does not take it.
    pub fn push_manifest_list(&self, name: &Reference, insecure: bool) -> Result<PushedList> {
        let list = self.manifest_list(name)?;
        let client = self.client_for(name, insecure);
        for member in &list.members {
            let by_digest = |reference: &Reference| reference.with_digest(member.descriptor.digest.clone());
            if member.name.name() == list.name.name() {
                continue;
            }
            let members_client = self.client_for(&member.name, insecure);
            let source = members_client.source(&by_digest(&member.name), &Silent)?;
            let mount_from = |_: &Digest| vec![member.name.name_only()];
            let sink = client.sink(&by_digest(&list.name), &mount_from, &Silent)?;
            copy(
                &source,
                &sink,
                &CopyOptions { platforms: Platforms::All, jobs: self.settings().jobs },
                &Silent,
            )?;
        }
        let manifest = list.manifest();
        client.sink(&list.name, &|_| Vec::new(), &Silent)?.put_manifest(&manifest, true)?;
        Ok(PushedList {
            members: list.members.into_iter().map(|member| member.descriptor.digest).collect(),
            repository: list.name.name_only(),
            digest: manifest.digest().clone(),
        })
    }

    /// Forgets a list in the making.
    ///
    /// # Errors
    /// There is none.
    pub fn remove_manifest_list(&self, name: &Reference) -> Result<()> {
        self.manifest_list(name)?;
        let path = self.manifest_list_path(name)?;
        fs::remove_file(&path).at(&path)
    }

    /// A client that trusts this one registry, where that was asked for.
    fn client_for(&self, name: &Reference, insecure: bool) -> Client {
        if !insecure {
            return self.client().clone();
        }
        let mut settings = self.settings().registries.clone();
        settings.insecure.push(name.registry().to_owned());
        Client::new(settings)
    }

    fn keep_manifest_list(&self, list: &ManifestList) -> Result<()> {
        let path = self.manifest_list_path(&list.name)?;
        let directory = path.parent().expect("the path has a directory");
        fs::create_dir_all(directory).at(directory)?;
        let partial = path.with_extension(format!("{}.partial", std::process::id()));
        let text = serde_json::to_vec(list).expect("a list has string keys only");
        fs::write(&partial, text).at(&partial)?;
        fs::rename(&partial, &path).at(&path)
    }

    /// Names have slashes and colons; their digests do not.
    fn manifest_list_path(&self, name: &Reference) -> Result<PathBuf> {
        let name = Digest::of(name.to_string().as_bytes());
        Ok(self.store()?.location().root.join("manifest-lists").join(format!("{}.json", name.hex())))
    }
}

fn described(client: &Client, name: &Reference) -> Result<Descriptor> {
    let source = client.source(name, &Silent)?;
    let manifest = source.root().map_err(|error| no_such(error, name))?;
    if manifest.index().is_some() {
        return Err(Error::invalid(format!("{} is a manifest list", name.familiar())));
    }
    Ok(Descriptor { platform: platform_of(&source, &manifest)?, ..manifest.descriptor() })
}

fn platform_of(source: &dyn Source, manifest: &Manifest) -> Result<Option<Platform>> {
    let Some(image) = manifest.image() else { return Ok(None) };
    if image.config.size > CONFIG_LIMIT {
        return Err(Error::invalid(format!("the config of {} is too large", manifest.digest())));
    }
    let mut raw = Vec::new();
    Verified::new(source.blob(&image.config, 0)?, &image.config).read_to_end(&mut raw)?;
    Ok(Some(ImageConfig::parse(&raw)?.platform()))
}

fn no_such(error: Error, name: &Reference) -> Error {
    match error.kind() {
        Kind::NotFound => Error::not_found(format!("no such manifest: {}", name.familiar())),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_change_what_they_name() {
        let name: Reference = "q.io/a:1".parse().unwrap();
        let platform = Some("linux/amd64".parse().unwrap());
        let descriptor = Descriptor { platform, ..Descriptor::of(media_type::OCI_MANIFEST, b"{}") };
        let member = Member { name: name.clone(), descriptor };
        let mut list = ManifestList { name: "q.io/l:1".parse().unwrap(), members: vec![member] };
        let change = |architecture: &str, variant: Option<&str>| Annotation {
            architecture: Some(architecture.to_owned()),
            variant: variant.map(str::to_owned),
            ..Annotation::default()
        };
        list.annotate(&name, &change("arm", Some("v6"))).unwrap();
        assert_eq!(list.members[0].descriptor.platform.as_ref().unwrap().to_string(), "linux/arm/v6");
        assert!(list.annotate(&name, &change("foo", None)).unwrap_err().message().ends_with("linux/foo"));
        let other = "q.io/b:1".parse().unwrap();
        assert_eq!(
            list.annotate(&other, &Annotation::default()).unwrap_err().message(),
            "manifest for image q.io/b:1 does not exist in q.io/l:1"
        );
        assert_eq!(list.manifest().children().len(), 1);
    }
}
