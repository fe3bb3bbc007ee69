//! Which addresses a source may name: the check that keeps an entered URL from reaching into our own network.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Checks a provider's base URL and returns it without a trailing slash, or says what is wrong with it.
///
/// HTTPS is required, except towards this machine itself. Addresses that only reach the neighbours of this machine
/// (link-local, such as a cloud's metadata service), nobody, or everybody are refused.
pub fn check_base_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text)
        .map_err(|error| format!("is not a URL ({error}); write it like https://host/api"))?;
    let Some(host) = url.host() else {
        return Err("names no host; write it like https://host/api".to_owned());
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password; give the credential with --token-env instead".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a query or fragment; give only the root of the API".to_owned());
    }
    if let Some(ip) = ip_of(&host)
        && is_forbidden(ip)
    {
        return Err(format!("names the address {ip}, which no provider has"));
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback_host(&host) => {}
        "http" => return Err("is not encrypted; only https is allowed, or http towards 127.0.0.1".to_owned()),
        other => return Err(format!("has the scheme {other}; only https is allowed")),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// Says whether a redirect or link from `base`'s provider may be followed to `url`.
pub(super) fn may_follow(base: &Url, url: &Url) -> bool {
    let Some(host) = url.host() else { return false };
    let loopback = is_loopback_host(&host);
    let base_loopback = base.host().is_some_and(|it| is_loopback_host(&it));
    match url.scheme() {
        "https" => {}
        "http" if loopback && base.scheme() == "http" => {}
        _ => return false,
    }
    // A provider out there has no business on this machine.
    (!loopback || base_loopback) && !ip_of(&host).is_some_and(is_forbidden)
}

/// Says whether two URLs lead to the same server: only there the credential goes along.
pub(super) fn same_server(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Says whether a credential that was given for one base URL may be kept for another: they lead to the same server, or
/// both to this machine itself.
pub(crate) fn is_same_keeper(known: &str, other: &str) -> bool {
    let (Ok(known), Ok(other)) = (Url::parse(known), Url::parse(other)) else { return false };
    let at_home = |url: &Url| url.host().is_some_and(|it| is_loopback_host(&it));
    same_server(&known, &other) || (at_home(&known) && at_home(&other))
}

fn ip_of<S: AsRef<str>>(host: &Host<S>) -> Option<IpAddr> {
    match host {
        Host::Ipv4(ip) => Some(IpAddr::V4(*ip)),
        Host::Ipv6(ip) => Some(IpAddr::V6(*ip)),
        Host::Domain(_) => None,
    }
}

fn is_loopback_host<S: AsRef<str>>(host: &Host<S>) -> bool {
    match host {
        Host::Domain(name) => is_local_name(name.as_ref()),
        other => ip_of(other).is_some_and(|ip| ip.to_canonical().is_loopback()),
    }
}

fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn is_forbidden(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_multicast() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => {
            // fd00:ec2::254 is a metadata service in the private range, which else stays open for servers of one's own.
            let metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            ip.is_unicast_link_local() || ip.is_multicast() || ip.is_unspecified() || ip == metadata
        }
    }
}

/// A name led to an address that no source may reach.
#[derive(Debug, thiserror::Error)]
#[error("{0} leads to a forbidden address")]
pub(super) struct ForbiddenAddress(String);

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no address")]
pub(super) struct UnknownHost(String);

/// Resolves names, and drops the addresses that no source may reach, so that a name cannot lead where a URL may not.
#[derive(Debug)]
pub(super) struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found: Vec<SocketAddr> = match tokio::net::lookup_host((name.as_str(), 0)).await {
                Ok(found) => found.collect(),
                Err(_) => Vec::new(),
            };
            if found.is_empty() {
                return Err(UnknownHost(name).into());
            }
            let local = is_local_name(&name);
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|it| !is_forbidden(it.ip()) && (local || !it.ip().to_canonical().is_loopback()))
                .collect();
            if allowed.is_empty() {
                return Err(ForbiddenAddress(name).into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::{check_base_url, is_same_keeper, may_follow, same_server};

    #[test]
    fn base_urls_lead_out_encrypted_or_stay_at_home() {
        assert_eq!(check_base_url("https://api.github.com/").unwrap(), "https://api.github.com");
        assert_eq!(check_base_url("https://10.1.2.3/api/v3").unwrap(), "https://10.1.2.3/api/v3");
        assert_eq!(check_base_url("http://127.0.0.1:8080/github").unwrap(), "http://127.0.0.1:8080/github");
        assert_eq!(check_base_url("http://localhost:1/").unwrap(), "http://localhost:1");
    }

    #[test]
    fn base_urls_that_reach_where_no_provider_is_are_refused() {
        for (text, word) in [
            ("http://api.github.com", "encrypted"),
            ("http://10.1.2.3", "encrypted"),
            ("https://169.254.169.254/latest", "no provider has"),
            ("https://[::ffff:169.254.169.254]/", "no provider has"),
            ("https://[fe80::1]/", "no provider has"),
            ("https://0.0.0.0/", "no provider has"),
            ("https://me:secret@host/", "password"),
            ("https://host/?a=b", "query"),
            ("ftp://host/", "scheme"),
            ("github.com", "not a URL"),
        ] {
            let why = check_base_url(text).expect_err(text);
            assert!(why.contains(word), "{text}: {why}");
            assert!(!why.contains("secret"), "{text}: {why}");
        }
    }

    fn follows(base: &str, to: &str) -> bool {
        may_follow(&Url::parse(base).unwrap(), &Url::parse(to).unwrap())
    }

    #[test]
    fn redirects_never_lead_to_plain_text_or_into_this_machine() {
        assert!(follows("https://api.github.com", "https://codeload.github.com/x"));
        assert!(follows("http://127.0.0.1:1", "http://127.0.0.1:2/x"));
        assert!(!follows("https://api.github.com", "http://api.github.com/x"));
        assert!(!follows("https://api.github.com", "https://127.0.0.1/x"));
        assert!(!follows("https://api.github.com", "https://169.254.169.254/x"));
        assert!(!follows("http://127.0.0.1:1", "http://example.com/x"));
    }

    #[test]
    fn a_credential_stays_with_the_server_that_it_was_given_for() {
        assert!(is_same_keeper("https://host/api", "https://host/api/v3"));
        assert!(is_same_keeper("http://127.0.0.1:1/github", "http://127.0.0.1:2/github"));
        assert!(!is_same_keeper("https://host/api", "https://other/api"));
        assert!(!is_same_keeper("https://host/api", "https://host:8443/api"));
        assert!(!is_same_keeper("https://host/api", "http://127.0.0.1:1/api"));
    }

    #[test]
    fn another_port_is_another_server() {
        let a = Url::parse("https://host/a").unwrap();
        assert!(same_server(&a, &Url::parse("https://host:443/b").unwrap()));
        assert!(!same_server(&a, &Url::parse("https://host:444/b").unwrap()));
        assert!(!same_server(&a, &Url::parse("http://host/b").unwrap()));
    }
}
