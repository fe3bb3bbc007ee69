//! Fixtures of the GitHub connector and the pages they become.
