//! What berth must survive: kill -9 at every durable step, many processes at once, broken lines; and other tools,
//! which must read what it writes and write what it reads. The real binary, real files, real sockets.

mod bake;
mod build;
mod cache;
mod caches;
mod chaos;
mod checks;
mod crash;
mod disk;
mod exchange;
mod explain;
mod failures;
mod files;
mod foreign;
mod history;
mod hostile;
mod images;
mod isolation;
mod life;
mod limits;
mod links;
mod networks;
mod oci;
mod programs;
mod pushes;
mod readme;
mod registries;
mod resume;
mod rootless;
mod sharing;
mod sources;
mod storm;
mod support;
mod users;
mod volumes;
mod words;
