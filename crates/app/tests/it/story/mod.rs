//! Stories of the whole: the program and its engine against the simulator, with what can go wrong on the way.
//!
//! A story asserts what a user or an operator sees in the end; it must never sleep, and never end a process that it
//! did not start.

mod blocked;
mod cancel;
mod chores;
mod crash;
mod events;
mod faults;
mod git;
mod gitlab;
mod heal;
mod jira;
mod ledger;
mod limits;
mod month;
mod nodes;
mod refusals;
mod schedule;
mod servers;
mod shutdown;
mod standing;
mod states;
mod tenants;
mod timeline;
mod turns;
mod webhook;
mod why;
