//! The tests of the whole: each module is one subject, and all of them are one binary, so that they link once.
//!
//! It must never reach beyond loopback, and never wait by sleeping.

#[cfg(test)]
mod api;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod story;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tidy;
