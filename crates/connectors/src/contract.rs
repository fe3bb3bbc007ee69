//! What holds for every connector.
