//! The words of Syncline, its policy, and the contract between a connector and the engine.
//!
//! Everything here is a value or a pure function: no I/O, no clock, no randomness, no async.
//! Begin with [`connector::Connector`] (how a provider is read) and [`policy`] (when, and what next).

pub mod census;
pub mod connector;
pub mod event;
pub mod fault;
pub mod id;
pub mod job;
pub mod page;
pub mod policy;
pub mod source;
pub mod table;
pub mod tenant;
pub mod trigger;
