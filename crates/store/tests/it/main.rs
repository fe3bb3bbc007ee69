//! The store's story and contract, each test on SQLite and on PostgreSQL.
//!
//! Never skips a database: without `TEST_DATABASE_URL` every test of PostgreSQL fails and says what to do.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

#[macro_use]
mod database;

mod bare;
mod world;

mod census;
mod chores;
mod claims;
mod closing;
mod damage;
mod group_commit;
mod healing;
mod hints;
mod items;
mod landing;
mod lanes;
mod ledger;
mod listing;
mod model;
mod reads;
mod records;
mod retention;
mod schedules;
mod schema;
mod secrets;
mod sources;
mod stale;
mod standing;
mod story;
mod tenants;
mod turns;
