//! The closed lists of words that answers are made of, described from the enums that hold them.
//!
//! It must never hold a list of its own: a word that is added there is described here.

use domain::census::{Absence, CensusState};
use domain::job::{JobState, Lane, SyncState};
use domain::policy::status::State;
use domain::tenant::Role;
use domain::trigger::Trigger;
use serde_json::Value;
use utoipa::openapi::schema::{Object, ObjectBuilder, SchemaType, Type};

fn one_of(words: impl IntoIterator<Item = &'static str>) -> Object {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words.into_iter().collect::<Vec<_>>()))
        .build()
}

/// Where a sync stands.
pub(super) fn sync_state() -> Object {
    one_of(SyncState::ALL.iter().map(|it| it.as_str()))
}

/// Where a job stands.
pub(super) fn job_state() -> Object {
    one_of(JobState::ALL.iter().map(|it| it.as_str()))
}

/// Which end of a partition a job reads; null where that is not known.
pub(super) fn lane() -> Object {
    let mut words = one_of(Lane::ALL.iter().map(|it| it.as_str()));
    words.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    words.enum_values.get_or_insert_default().push(Value::Null);
    words
}

/// Where a census stands.
pub(super) fn census_state() -> Object {
    one_of(CensusState::ALL.iter().map(|it| it.as_str()))
}

/// What became of a record that a provider no longer lists; null until it was looked up.
pub(super) fn absence() -> Object {
    let mut words = one_of(Absence::ALL.iter().map(|it| it.as_str()));
    words.schema_type = SchemaType::from_iter([Type::String, Type::Null]);
    words.enum_values.get_or_insert_default().push(Value::Null);
    words
}

/// Why a sync was asked for.
pub(super) fn trigger() -> Object {
    one_of(Trigger::ALL.iter().map(|it| it.as_str()))
}

/// Where a stream group stands.
pub(super) fn standing() -> Object {
    one_of(State::ALL.iter().map(|it| it.as_str()))
}

/// What a token may do.
pub(super) fn role() -> Object {
    one_of(Role::ALL.iter().map(|it| it.as_str()))
}
