//! What others make of the same bytes: GNU tar's extraction, and images that are in use.

use super::support::{Room, Shown, check_with_fsck, differences, mount, show};
use crate::layer::Form;
use berth_oci::{ImageIndex, ImageManifest};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// GNU tar's idea of an archive.
fn extracted_by_tar(room: &Room, archive: &Path) -> Shown {
    let directory = room.path().join("by-tar");
    fs::create_dir(&directory).unwrap();
    let options = ["-xp", "--same-owner", "--numeric-owner", "--xattrs", "--xattrs-include=*"];
    let done =
        Command::new("tar").args(options).arg("-C").arg(&directory).arg("-f").arg(archive).status().unwrap();
    assert!(done.success());
    let shown = show(&directory);
    fs::remove_dir_all(directory).unwrap();
    shown
}

/// A tree with what file systems have.
fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("usr/share/doc")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    for size in [0, 1, 511, 512, 513, 4095, 4096, 4097, 100_000] {
        let content: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
        fs::write(root.join(format!("size{size}")), content).unwrap();
    }
    for number in 0..700 {
        fs::write(root.join(format!("usr/share/doc/{number:03}-{}", "n".repeat(number % 200))), b"x")
            .unwrap();
    }
    fs::write(root.join("!first"), b"sorts before the dot").unwrap();
    fs::write(root.join(format!("long-{}", "l".repeat(250))), b"255 bytes of name").unwrap();
    let deep = (0..30).fold(root.join("deep"), |path, _| path.join("directory"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), b"b").unwrap();
    fs::hard_link(root.join("size513"), root.join("usr/linked")).unwrap();
    for length in [1, 100, 400, 448, 449, 512, 600, 1000, 4000] {
        symlink("t".repeat(length), root.join(format!("link{length}"))).unwrap();
    }
    chown(root.join("size1"), Some(100_000), Some(65_534)).unwrap();
    fs::set_permissions(root.join("size512"), fs::Permissions::from_mode(0o6755)).unwrap();
    fs::File::create(root.join("sparse")).unwrap().set_len(3 << 20).unwrap();
    let hole = fs::File::options().write(true).open(root.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&hole, b"in the middle", 1 << 20).unwrap();
}

#[test]
fn gnu_tar_extracts_what_the_kernel_shows() {
    for format in ["gnu", "posix", "ustar", "oldgnu"] {
        for sparse in ["--sparse", "--sparse-version=0.0", "--sparse-version=0.1"] {
            if sparse != "--sparse" && format != "posix" {
                continue;
            }
            let room = Room::new();
            let tree = room.path().join("tree");
            fs::create_dir(&tree).unwrap();
            make_tree(&tree);
            if format == "ustar" {
                // It has no place for them.
                [449, 400, 448, 512, 600, 1000, 4000]
                    .iter()
                    .for_each(|l| fs::remove_file(tree.join(format!("link{l}"))).unwrap());
                fs::remove_file(tree.join(format!("long-{}", "l".repeat(250)))).unwrap();
                fs::remove_dir_all(tree.join("usr/share")).unwrap();
                fs::remove_dir_all(tree.join("deep")).unwrap();
            }
            let archive = room.path().join("archive");
            let mut tar = Command::new("tar");
            tar.arg("-c").arg(format!("--format={format}")).arg("--xattrs-include=*");
            if format != "ustar" {
                tar.args(["--sparse", sparse]);
            }
            assert!(tar.arg("-C").arg(&tree).arg("-f").arg(&archive).arg(".").status().unwrap().success());
            let shown = room.shown(&fs::read(&archive).unwrap()).unwrap();
            assert_eq!(
                differences(&shown, &extracted_by_tar(&room, &archive)),
                Vec::<String>::new(),
                "{format}"
            );
        }
    }
}

/// `shared/images` beside the repository, where official images lie as OCI layouts.
fn images() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|up| up.join("shared/images"));
    beside.into_iter().find(|path| path.is_dir())
}

#[test]
fn official_images_look_as_gnu_tar_extracts_them() {
    let Some(images) = images() else {
        eprintln!("skipped: there is no shared/images beside the repository");
        return;
    };
    let mut layers = 0;
    for image in fs::read_dir(images).unwrap().map(|entry| entry.unwrap().path()) {
        let blob = |digest: &berth_oci::Digest| fs::read(image.join("blobs/sha256").join(digest.hex()));
        let index: ImageIndex = serde_json::from_slice(&fs::read(image.join("index.json")).unwrap()).unwrap();
        let mut waiting = index.manifests;
        while let Some(descriptor) = waiting.pop() {
            let Ok(bytes) = blob(&descriptor.digest) else { continue };
            if let Ok(nested) = serde_json::from_slice::<ImageIndex>(&bytes) {
                waiting.extend(nested.manifests);
                continue;
            }
            let manifest: ImageManifest = serde_json::from_slice(&bytes).unwrap();
            for layer in &manifest.layers {
                let is_layer = berth_oci::media_type::layer_compression(&layer.media_type).is_some();
                let Some(bytes) = blob(&layer.digest).ok().filter(|_| is_layer) else { continue };
                compare(&bytes);
                layers += 1;
            }
        }
    }
    assert!(layers > 0, "no layer was found");
}

fn compare(bytes: &[u8]) {
    let room = Room::new();
    let place = room.place(Form::Erofs, bytes).unwrap();
    check_with_fsck(&place);
    let by_tar = extracted_by_tar(&room, &place.join("tar"));
    let directory = show(&room.place(Form::Directory, bytes).unwrap());
    assert_eq!(differences(&directory, &by_tar), Vec::<String>::new());
    if let Some(mounted) = mount(&place) {
        assert_eq!(differences(&show(&mounted.path()), &by_tar), Vec::<String>::new());
    }
}
