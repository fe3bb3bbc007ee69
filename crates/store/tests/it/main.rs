//! The store's story and contract, each test on SQLite and on PostgreSQL.
//!
//! Never skips a database: without `TEST_DATABASE_URL` every test of PostgreSQL fails and says what to do.

#[macro_use]
mod database;
mod world;

mod story;
