//! Volumes that are file systems of their own, mounted where their directory is.
//!
//! Docker unmounts such a volume when the last container that uses it has ended, so that a tmpfs is empty for the
//! next. Nobody of us runs at that moment; whoever comes next does it. Invariant: nothing is unmounted that a live
//! container sees.

use super::options::LocalMount;
use super::{Engine, Volume};
use berth_oci::{AtPath, Context, Error, Result};
use berth_store::Held;
use rustix::mount::{MountFlags, UnmountFlags};
use std::io;
use std::net::ToSocketAddrs;
use std::path::Path;

impl Engine {
    /// Sees to it that the volume's files are where they should be, for the container `user`. As long as the answer
    /// is held nobody else mounts or unmounts it.
    pub(crate) fn mount_volume(&self, volume: &Volume, user: &str) -> Result<Option<Held>> {
        let Some(wanted) = LocalMount::read(&volume.document.options)? else { return Ok(None) };
        let held = self.store()?.use_volume(&volume.name)?;
        let mounted = self.store()?.is_volume_mounted(&volume.name)?;
        if mounted && self.is_in_use(volume, user)? {
            return Ok(Some(held));
        }
        if mounted {
            unmount(&volume.mountpoint)?;
        }
        mount(&wanted, &volume.mountpoint).context(|| {
            format!(
                "error while mounting volume '{0}': failed to mount local volume: mount {1}:{0}",
                volume.mountpoint.display(),
                wanted.device
            )
        })?;
        Ok(Some(held))
    }

    /// Takes off what is mounted on a volume that is to be removed.
    pub(super) fn unmount_volume(&self, volume: &Volume) -> Result<()> {
        if volume.document.options.is_empty() {
            return Ok(());
        }
        let _held = self.store()?.use_volume(&volume.name)?;
        match self.store()?.is_volume_mounted(&volume.name)? && !self.is_in_use(volume, "")? {
            true => unmount(&volume.mountpoint),
            false => Ok(()),
        }
    }

    /// Whether a live container other than `user` sees the volume.
    fn is_in_use(&self, volume: &Volume, user: &str) -> Result<bool> {
        for id in volume.users.iter().filter(|id| *id != user) {
            let state = berth_runtime::state(&self.store()?.container_dir(id), &self.run_dir(id))?;
            if state.is_some_and(|state| state.is_live()) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn unmount(path: &Path) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::DETACH).map_err(io::Error::from).at(path)
}

fn mount(wanted: &LocalMount, target: &Path) -> Result<()> {
    let data = with_address(&wanted.data)?;
    let data = std::ffi::CString::new(data).map_err(|_| Error::invalid("an option has a zero byte"))?;
    let (kind, device) = (wanted.kind.as_str(), wanted.device.as_str());
    let flags = wanted.flags;
    rustix::mount::mount(device, target, kind, flags, Some(data.as_c_str())).map_err(io::Error::from)?;
    // A bind takes no other flag in the same breath.
    let more = flags - MountFlags::BIND - MountFlags::REC;
    match wanted.is_bind() && !more.is_empty() {
        true => rustix::mount::mount_remount(target, more | MountFlags::BIND, "")
            .map_err(io::Error::from)
            .at(target),
        false => Ok(()),
    }
}

/// The kernel's NFS and CIFS want an address where people write a name.
fn with_address(data: &str) -> Result<String> {
    let resolved = |word: &str| match word.strip_prefix("addr=") {
        Some(name) => {
            let mut found =
                (name, 0).to_socket_addrs().context(|| format!("cannot find the host `{name}`"))?;
            let address =
                found.next().ok_or_else(|| Error::not_found(format!("cannot find the host `{name}`")))?;
            Ok(format!("addr={}", address.ip()))
        }
        None => Ok(word.to_owned()),
    };
    Ok(data.split(',').map(resolved).collect::<Result<Vec<_>>>()?.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_addresses() {
        assert_eq!(with_address("addr=127.0.0.1,rw,nolock").unwrap(), "addr=127.0.0.1,rw,nolock");
        assert_eq!(with_address("").unwrap(), "");
        assert!(with_address("addr=no.such.host.invalid").is_err());
    }
}
