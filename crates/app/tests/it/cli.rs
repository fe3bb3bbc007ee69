//! The command line as a person and a script meet it: the built binary, in folders of its own, against the simulator.
//!
//! It must never look at what the program holds inside: only at what it prints, writes and ends with.

mod background;
mod census;
mod config;
mod demo;
mod help;
mod plan;
mod sandbox;
mod secret;
mod signal;
mod source;
mod sync;
mod tenant;
mod webhook;
