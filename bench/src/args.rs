//! The ideal client's flags. It reads no environment and no file.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// What `--help` prints.
pub(crate) const USAGE: &str = "\
usage: ideal --base URL --database FILE [options]
  --base URL                 the API's root, such as http://127.0.0.1:8080/github
  --database FILE            the SQLite file to land in
  --token TOKEN              the credential (default: bench)
  --in-flight N              requests under way at most (default: 32, as syncline's)
  --rows-per-transaction N   rows that share one commit (default: 1000)
  --pragma 'NAME = VALUE'    another setting of SQLite than syncline's, to learn what it would bring; may be repeated
  --threads N                threads that read; 0 is the main one alone (default: 0)
  --decode stream|whole      unpack answers as they arrive, or when they are whole (default: whole)
It prints {\"commits\", \"requests\", \"wall_ms\"}.";

/// How one run is done.
pub(crate) struct Args {
    pub(crate) base: String,
    pub(crate) database: PathBuf,
    pub(crate) token: String,
    pub(crate) in_flight: usize,
    pub(crate) rows_per_transaction: usize,
    pub(crate) pragmas: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) decode_whole: bool,
}

impl Args {
    /// Reads the flags; `None` means that help was asked for.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut args = Self {
            base: String::new(),
            database: PathBuf::new(),
            token: "bench".to_owned(),
            in_flight: 32,
            rows_per_transaction: 1000,
            pragmas: Vec::new(),
            threads: 0,
            decode_whole: true,
        };
        while let Some(flag) = words.next() {
            if flag == "--help" {
                return Ok(None);
            }
            let value = words.next().with_context(|| format!("{flag} needs a value; see --help"))?;
            let number = || value.parse::<usize>().with_context(|| format!("{flag}: {value} is no number"));
            match flag.as_str() {
                "--base" => value.trim_end_matches('/').clone_into(&mut args.base),
                "--database" => args.database = PathBuf::from(value),
                "--token" => args.token = value,
                "--in-flight" => args.in_flight = number()?.max(1),
                "--rows-per-transaction" => args.rows_per_transaction = number()?.max(1),
                "--pragma" => args.pragmas.push(value),
                "--threads" => args.threads = number()?,
                "--decode" => {
                    args.decode_whole = match value.as_str() {
                        "whole" => true,
                        "stream" => false,
                        _ => bail!("--decode: {value} is unknown; it is stream or whole"),
                    }
                }
                _ => bail!("{flag} is unknown; see --help"),
            }
        }
        if args.base.is_empty() || args.database.as_os_str().is_empty() {
            bail!("--base and --database are needed; see --help");
        }
        Ok(Some(args))
    }
}
