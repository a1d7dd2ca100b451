//! The store from outside: real bytes in temporary directories, real processes.

mod images;
mod sample;
mod transfer;
