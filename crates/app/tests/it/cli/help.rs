//! That the help texts and the README say what they should.

use super::sandbox::Sandbox;

const COMMANDS: [&str; 34] = [
    "",
    "source",
    "source add",
    "source add github",
    "source list",
    "source show",
    "source check",
    "source remove",
    "source schedule",
    "sync",
    "sync start",
    "sync status",
    "sync cancel",
    "status",
    "budget",
    "plan",
    "census",
    "census show",
    "census start",
    "census approve",
    "census undo",
    "sim",
    "tenant",
    "tenant create",
    "tenant list",
    "tenant revoke",
    "token",
    "token create",
    "token list",
    "token revoke",
    "webhook",
    "webhook url",
    "webhook secret",
    "webhook deliveries",
];

#[tokio::test]
async fn every_help_text_has_examples() {
    let sandbox = Sandbox::new();
    for command in COMMANDS.iter().chain(&["demo"]) {
        let said = sandbox.ends(0, &format!("{command} --help")).await;
        assert!(said.stdout.contains("Examples:\n  "), "{command}: {}", said.stdout);
        assert!(said.stdout.contains("syncline "), "{command}: {}", said.stdout);
        let short = sandbox.ends(0, &format!("{command} -h")).await;
        assert!(short.stdout.contains("Examples:\n  "), "{command} -h: {}", short.stdout);
    }
    let files = std::fs::read_dir(sandbox.path("")).unwrap().count();
    assert_eq!(files, 0, "asking for help writes nothing");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_two() {
    let sandbox = Sandbox::new();
    for line in
        ["", "sink", "sync start --wiat", "sync status one", "source add", "source add gitlab --name x"]
    {
        let said = sandbox.run(line).await;
        assert_eq!(said.code, Some(2), "{line}: {said:?}");
    }
    let said = sandbox.ends(2, "sync start --wiat --json").await;
    let error = &said.json()["error"];
    assert_eq!(error["code"], "usage");
    assert!(error["message"].as_str().unwrap().contains("--wait"), "{error}");
}

#[tokio::test]
async fn the_readme_names_every_setting_and_exit_code() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let help = Sandbox::new().ends(0, "--help").await.stdout;
    let (_, settings) = help.split_once("Settings (").unwrap();
    let (_, settings) = settings.split_once('\n').unwrap();
    let mut found = 0;
    for line in settings.lines().filter(|it| it.contains("[SYNC")) {
        let key = line.trim().split(' ').next().unwrap();
        assert!(readme.contains(&format!("| `{key}` |")), "the README's table lacks {key}");
        found += 1;
    }
    assert_eq!(found, 36, "as many settings as the table has: {settings}");
    let (_, codes) = help.split_once("Exit codes:\n").unwrap();
    for line in codes.lines().take_while(|it| !it.is_empty()) {
        let number = line.trim().split(' ').next().unwrap();
        assert!(readme.contains(&format!("| {number} |")), "the README's table lacks exit code {number}");
    }
}
