//! The store from outside: real bytes in temporary directories, real processes.

mod archives;
mod check;
mod crash;
mod gc;
mod images;
mod model;
mod sample;
mod transfer;
