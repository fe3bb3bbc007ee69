//! Addresses of webhooks, as they are typed and shown.

use super::sandbox::{Sandbox, TOKEN, simulate, world};

#[tokio::test]
async fn an_address_is_shown_where_a_provider_can_deliver() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    for (at, shown) in [
        ("", "https://YOUR-SERVER/api/webhooks/1"),
        (" --at https://sync.example.com/", "https://sync.example.com/api/webhooks/1"),
        (" --at http://10.0.0.7:8080/below", "http://10.0.0.7:8080/below/api/webhooks/1"),
    ] {
        let said = sandbox.ends(0, &format!("webhook url acme{at}")).await;
        assert_eq!(said.stdout.trim_end(), shown, "{at}");
    }
    for at in [
        "ftp://sync.example.com",
        "sync.example.com",
        "https://",
        "https://a@b.example",
        "https://b.example?c",
        "=",
    ] {
        let said = sandbox.ends(2, &format!("webhook url acme --at={at} --json")).await.json();
        assert_eq!(said["error"]["code"], "invalid", "{at}: {said}");
    }
    let empty = sandbox.ends(2, "webhook url acme --at= --json").await.json();
    assert_eq!(empty["error"]["code"], "invalid", "{empty}");
}
