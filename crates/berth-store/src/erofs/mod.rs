//! Our own writer of EROFS metadata (Linux `fs/erofs/erofs_fs.h`): an index over a tar, 512-byte blocks, no data.
//!
//! A file's content lies in device 1, which is the tar itself. Its blocks follow those of the index in one space of
//! addresses (`mapped_blkaddr`), so that an inode names its first block and nothing else: half the size of chunk indexes,
//! which would name the device. Only sparse files, whose parts need not lie on block boundaries, are laid out once more
//! behind the metadata, as holes and copies. Not here: what the tree is
//! ([`crate::layer`]), mounting ([`crate::mount`]). Invariant: the same tree makes the same bytes.
//!
//! ```text
//! 0     1024        1536    …         …                 …               (4096 bytes)
//! zeros superblock  inodes  blocks of directories and   shared          sparse files
//!       device slot         long symbolic links         attributes
//! ```

mod checksum;
mod directory;
mod format;
mod inode;
mod plan;
mod room;
mod write;
mod xattr;

pub(crate) use plan::{Plan, Tail};
pub(crate) use write::Identity;
