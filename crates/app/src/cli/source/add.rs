//! `syncline source add PROVIDER`: one subcommand for each connector, made from its spec, so that a new connector
//! brings its own flags and help.
//!
//! A credential is never an argument: it would stand in the shell's history and in the list of processes.

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Subcommand, error::ErrorKind};
use domain::connector::Spec;
use engine::{AddSource, Secret, SecretChange, SourceChanges, SyncService, provider_specs};
use serde_json::{Map, Value, json};

use super::super::App;
use super::{provider_words, source_json};
use crate::config;
use crate::exit::{Exit, Failure};
use crate::output::Style;

/// What was typed, and the credential that was found for it.
#[derive(Clone, Debug)]
pub(crate) struct AddArgs {
    spec: &'static Spec,
    name: String,
    base_url: Option<String>,
    token_env: Option<String>,
    no_token: bool,
    update: bool,
    /// What was said of the connector's settings; none when nothing was.
    options: Option<Value>,
    token: Option<(Secret, String)>,
}

impl FromArgMatches for AddArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let unknown = || {
            clap::Error::raw(ErrorKind::MissingSubcommand, format!("name a provider: {}\n", provider_words()))
        };
        let (provider, given) = matches.subcommand().ok_or_else(unknown)?;
        let spec = provider_specs().find(|it| it.provider == provider).ok_or_else(unknown)?;
        let text = |name: &str| given.get_one::<String>(name).cloned();
        let mut options = Map::new();
        for setting in spec.settings {
            if is_list(setting.name) && given.get_flag("all") {
                options.insert(setting.name.to_owned(), json!([]));
                continue;
            }
            let values: Vec<String> = given.get_many(setting.name).into_iter().flatten().cloned().collect();
            let value = match values.as_slice() {
                [] => continue,
                [value] if !is_list(setting.name) => json!(value),
                values => json!(values),
            };
            options.insert(setting.name.to_owned(), value);
        }
        Ok(Self {
            spec,
            name: text("name").unwrap_or_default(),
            base_url: text("base-url"),
            token_env: text("token-env"),
            no_token: given.get_flag("no-token"),
            update: given.get_flag("update"),
            options: (!options.is_empty()).then_some(Value::Object(options)),
            token: None,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for AddArgs {
    fn augment_subcommands(command: Command) -> Command {
        provider_specs().fold(command, |command, spec| command.subcommand(provider_command(spec)))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        Self::augment_subcommands(command)
    }

    fn has_subcommand(name: &str) -> bool {
        provider_specs().any(|it| it.provider == name)
    }
}

fn provider_command(spec: &'static Spec) -> Command {
    let Spec { provider, title, default_base_url, token_env, .. } = spec;
    let text = |name: &'static str, value: &'static str, help: String| {
        Arg::new(name).long(name).value_name(value).num_args(1).help(help)
    };
    let command = Command::new(*provider)
        .about(format!("Add a source at {title}, or change one"))
        .after_help(format!(
            "Examples:\n  export {token_env}=…\n{}\n  syncline source add {provider} --name acme --update --token-env NEW_TOKEN\n\n\
             The credential is read from the environment and sealed before it is stored; it is never shown again.",
            examples(spec)
        ))
        .arg(text("name", "NAME", "What the source is called".to_owned()).required(true))
        .arg(text(
            "base-url",
            "URL",
            match default_base_url {
                Some(url) => format!("The root of the API [default: {url}]"),
                None => "The address of the site, which has no default".to_owned(),
            },
        ))
        .arg(text(
            "token-env",
            "VARIABLE",
            format!(
                "The environment variable that holds the credential [default: {token_env}, if it is set]"
            ),
        ))
        .arg(
            Arg::new("update")
                .long("update")
                .action(ArgAction::SetTrue)
                .help("Change a source that is there; what is not said stays as it is"),
        )
        .arg(
            Arg::new("no-token")
                .long("no-token")
                .action(ArgAction::SetTrue)
                .requires("update")
                .conflicts_with("token-env")
                .help("With --update: forget the credential; what anybody may read is read without one"),
        );
    let command = spec.settings.iter().fold(command, |command, setting| {
        let arg =
            Arg::new(setting.name).long(flag(setting.name)).help(setting.help).action(ArgAction::Append);
        let arg = if is_list(setting.name) { arg.num_args(1..).alias(setting.name) } else { arg.num_args(1) };
        command.arg(arg.value_name("VALUE"))
    });
    command.arg(
        Arg::new("all")
            .long("all")
            .action(ArgAction::SetTrue)
            .conflicts_with_all(spec.settings.iter().map(|it| it.name).filter(|it| is_list(it)))
            .help("All that the credential sees; with --update instead of what was named"),
    )
}

fn examples(spec: &Spec) -> String {
    let line = |(arguments, note): &(&str, &str)| {
        let line = format!("  syncline source add {} {arguments}", spec.provider);
        if note.is_empty() { line } else { format!("{line}     {note}") }
    };
    spec.examples.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A setting named in the plural is a list, and its flag names one of it.
fn is_list(setting: &str) -> bool {
    setting.ends_with('s')
}

fn flag(setting: &'static str) -> &'static str {
    setting.strip_suffix('s').unwrap_or(setting)
}

/// Says whether something can be read without a credential: a list is named, or anything else. To name all is to name
/// nothing of that kind, and some providers have nothing of that kind.
fn is_readable_openly(spec: &Spec, options: Option<&Value>) -> bool {
    let names = |it: &Value| it.as_array().is_none_or(|it| !it.is_empty());
    !spec.needs_token && options.and_then(Value::as_object).is_some_and(|it| it.values().any(names))
}

impl AddArgs {
    /// Finds the credential, or says why there is none.
    pub(crate) fn with_token(mut self) -> anyhow::Result<Self> {
        let named = self.token_env.is_some();
        // A change that does not name a credential keeps the one that is there.
        let variable = match &self.token_env {
            Some(variable) => Some(variable.clone()),
            None => (!self.update).then(|| self.spec.token_env.to_owned()),
        };
        if let Some(variable) = variable {
            // Files and clipboards end in a newline; no credential does.
            let token =
                config::variable(&variable).map(|it| it.trim().to_owned()).filter(|it| !it.is_empty());
            self.token = token.map(|it| (Secret::from(it), variable.clone()));
            if named && self.token.is_none() {
                let says = format!(
                    "--token-env: the variable {variable} is unset or empty; export it, and try again"
                );
                return Err(Failure::usage(says));
            }
        }
        if self.token.is_none() && !self.update && !is_readable_openly(self.spec, self.options.as_ref()) {
            return Err(nothing_to_read(self.spec));
        }
        Ok(self)
    }
}

/// What is not said stays as it is.
fn laid_over(before: &Value, said: Value) -> Value {
    let mut options = before.as_object().cloned().unwrap_or_default();
    if let Value::Object(said) = said {
        options.extend(said);
    }
    Value::Object(options)
}

fn nothing_to_read(spec: &Spec) -> anyhow::Error {
    let (variable, provider) = (spec.token_env, spec.provider);
    if spec.needs_token {
        return Failure::usage(format!(
            "no credential, and {} shows nothing without one: export {variable}, or name its variable with --token-env",
            spec.title
        ));
    }
    Failure::usage(format!(
        "no credential and nothing named: export {variable}, or name its variable with --token-env; without one, name \
         what anybody may read, as `syncline source add {provider} --help` shows"
    ))
}

/// Runs the command.
pub(super) async fn run(args: AddArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let spec = args.spec;
    let variable = args.token.as_ref().map(|it| it.1.clone());
    let token = args.token.map(|it| it.0);
    if args.update {
        let before = service.source(&args.name).await?;
        if before.provider != spec.provider {
            let says = format!("`{}` is a source at {}, which cannot be changed", args.name, before.provider);
            return Err(Failure::usage(says));
        }
        let options = args.options.map(|said| laid_over(&before.settings.options, said));
        let options = options.or(Some(before.settings.options));
        let keeps = before.has_secret && !args.no_token;
        if token.is_none() && !keeps && !is_readable_openly(spec, options.as_ref()) {
            if spec.needs_token {
                return Err(nothing_to_read(spec));
            }
            return Err(Failure::usage(format!(
                "`{}` would have no credential and names nothing: say with it what anybody may read, as `syncline source \
                 add {} --help` shows",
                args.name, spec.provider
            )));
        }
        let token = match token {
            Some(token) => SecretChange::Set(token),
            None if args.no_token => SecretChange::Clear,
            None => SecretChange::Keep,
        };
        let changes = SourceChanges { base_url: args.base_url, options, token, enabled: None };
        service.update_source(&args.name, changes).await?;
    } else {
        let add = AddSource {
            provider: spec.provider.to_owned(),
            name: args.name.clone(),
            base_url: args.base_url,
            options: args.options.unwrap_or_else(|| json!({})),
            token,
        };
        service.add_source(add).await?;
    }
    let source = service.source(&args.name).await?;
    let word = if args.update { "updated" } else { "added" };
    let mut value = source_json(&source);
    value[word] = json!(true);
    app.out.json(&value)?;
    let credential = match (variable, source.has_secret) {
        (Some(variable), _) => format!("credential from {variable}, sealed"),
        (None, true) => "credential as before".to_owned(),
        (None, false) => "no credential".to_owned(),
    };
    let paint = app.out.paint();
    let name = paint.of(Style::Strong, &source.name);
    let (title, address) = (spec.title, &source.settings.base_url);
    app.out
        .line(format!("{} {word} {name}: {title} at {address}, {credential}", paint.of(Style::Good, "✓")))?;
    if !source.has_secret {
        app.out.note(format!(
            "without a credential {title} answers few requests, {} or so: export {}, and say --update",
            spec.open_requests, spec.token_env
        ));
    }
    app.out.note(format!("read it with `syncline sync start --source {} --wait`", source.name));
    Ok(Exit::Done)
}
