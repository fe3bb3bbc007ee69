//! The simulator over real HTTP on loopback: what a client of GitHub would see.
//! Must never look inside; a real git repository or the world's own truth is what answers are compared with.

mod client;
mod control;
mod endpoint;
mod fault;
mod git;
mod history;
mod limit;
mod paging;
