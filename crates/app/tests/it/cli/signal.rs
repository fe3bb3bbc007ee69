//! Ctrl-C and SIGTERM: a clean end, and nothing lost.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::sandbox::{Said, Sandbox, TOKEN, simulate, world};

async fn send(signal: &str, child: &Child) {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
}

#[tokio::test]
async fn an_interrupted_sync_goes_on_with_the_next_start() {
    let mut options = world();
    // Long enough that the signal always comes first; the stop itself does not wait for it.
    options.latency = Duration::from_mins(1);
    let sim = simulate(options).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    let child = sandbox.command("sync start --group commits --wait --json").spawn().unwrap();
    while sim.report().in_flight_max == 0 {
        tokio::task::yield_now().await;
    }
    send("-INT", &child).await;
    let said = Said::from(child.wait_with_output().await.unwrap());
    assert_eq!(said.code, Some(130), "{said:?}");
    let left = said.json();
    assert_eq!((&left["state"], &left["jobsByState"]["available"]), (&"running".into(), &1.into()), "{left}");
    let port = sim.address();
    sim.stop().await;

    let sim = simulate(sim::Options { listen: port, ..world() }).await;
    let ended = sandbox.ends(0, "sync start --group commits --wait --json").await.json();
    assert_eq!((&ended["id"], &ended["state"]), (&left["id"], &"completed".into()));
    assert!(sim.report().violations.is_empty());
}

#[tokio::test]
async fn the_simulator_prints_its_address_and_ends_with_a_signal() {
    let sandbox = Sandbox::new();
    for (line, expected) in [
        (
            "sim --repos 1 --commits 3 --projects 1 --issues 3",
            &[
                "github   http://127.0.0.1:",
                "gitlab   http://127.0.0.1:",
                "jira     http://127.0.0.1:",
                "jira-dc  http://127.0.0.1:",
            ][..],
        ),
        ("sim --json", &["{\"github\":\"http://127.0.0.1:"][..]),
    ] {
        let mut child = sandbox.command(line).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for beginning in expected {
            let said = lines.next_line().await.unwrap().unwrap();
            assert!(said.starts_with(beginning), "{said}");
            assert!(
                ["/github", "/gitlab/api/v4", "/jira/cloud", "/jira/dc\"}", "/jira/dc"]
                    .iter()
                    .any(|it| said.ends_with(it)),
                "{said}"
            );
        }
        send("-TERM", &child).await;
        assert_eq!(child.wait().await.unwrap().code(), Some(0));
        assert_eq!(lines.next_line().await.unwrap(), None, "one line a provider");
    }
}

#[tokio::test]
async fn the_simulator_says_what_it_cannot_do() {
    let sandbox = Sandbox::new();
    let cases = [
        ("sim --faults 5xx=2", "cannot use 5xx=2"),
        ("sim --limits primary=many", "primary=many"),
        ("sim --git nowhere", "nowhere"),
        ("sim --git . --seed 3", "cannot be used with"),
        ("sim --listen nonsense", "nonsense"),
        ("sim --activity 51", "a number from 0 to 50 is allowed"),
        ("sim --projects 0", "1..=1000"),
    ];
    for (line, expected) in cases {
        let said = sandbox.ends(2, line).await;
        assert!(said.stderr.contains(expected), "{line}: {}", said.stderr);
    }
}
