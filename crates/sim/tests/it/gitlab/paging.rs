//! Pages: what a client walks must be everything, once, and it is told no more than the real one tells.

use sim::{Options, Sim, WorldSource};

use super::{FIRST, FIRST_ID, all, get, texts, walk};
use crate::client::{Answer, seeded};

const TOTALS: [&str; 2] = ["x-total", "x-total-pages"];

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.header(name).unwrap_or("absent")
}

async fn projects(repos: usize) -> Sim {
    let world = WorldSource::Seeded { seed: 1, repos, commits: 3 };
    sim::start(Options { world, ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_full_last_page_of_commits_is_followed_by_an_empty_one() {
    let sim = seeded(50).await;
    let old = sim.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    sim.world().push("acme/repo-1", "main", 40).unwrap();
    for (size, sizes) in [(20, vec![20, 20, 0]), (30, vec![30, 10])] {
        let target = format!("{FIRST}/repository/commits?ref_name={old}..main&per_page={size}");
        let pages = walk(&sim, &target).await;
        let lengths: Vec<_> = pages.iter().map(|page| page.json().as_array().unwrap().len()).collect();
        assert_eq!(lengths, sizes);
        for (number, page) in (1..).zip(&pages) {
            let last = number == pages.len();
            let next = if last { String::new() } else { (number + 1).to_string() };
            let shown = ["x-page", "x-next-page", "x-per-page"].map(|name| header(page, name).to_owned());
            assert_eq!(shown, [number.to_string(), next, size.to_string()]);
            assert!(TOTALS.iter().all(|name| page.header(name).is_none()) && !page.rels().contains(&"last"));
        }
    }
}

#[tokio::test]
async fn links_repeat_the_whole_request_in_the_order_of_the_names() {
    let sim = seeded(50).await;
    let page = get(&sim, "/projects/acme%2Frepo-1/repository/commits?ref_name=main&per_page=2&page=2").await;
    assert_eq!(page.rels(), ["prev", "next", "first"]);
    let base = format!("{}/projects/acme%2Frepo-1/repository/commits?id=acme%2Frepo-1", sim.gitlab_url());
    assert_eq!(page.links()["next"], format!("{base}&page=3&per_page=2&ref_name=main"));
    assert_eq!(page.links()["first"], format!("{base}&page=1&per_page=2&ref_name=main"));
}

#[tokio::test]
async fn a_page_has_twenty_entries_and_a_hundred_at_most() {
    let sim = seeded(250).await;
    for (asked, length, shown) in [("", 20, "20"), ("?per_page=1000", 100, "100"), ("?per_page=0", 20, "20")]
    {
        let page = get(&sim, &format!("{FIRST}/repository/commits{asked}")).await;
        assert_eq!((page.json().as_array().unwrap().len(), header(&page, "x-per-page")), (length, shown));
    }
}

#[tokio::test]
async fn numbered_pages_tell_totals_and_the_last_one_has_an_empty_next_page() {
    let sim = projects(5).await;
    let pages = walk(&sim, "/projects?per_page=2&order_by=id&sort=asc").await;
    let shown = |page: &Answer| {
        ["x-page", "x-next-page", "x-prev-page", "x-total", "x-total-pages"]
            .map(|it| header(page, it).to_owned())
    };
    assert_eq!(shown(&pages[0]), ["1", "2", "", "5", "3"]);
    assert_eq!(shown(&pages[2]), ["3", "", "2", "5", "3"]);
    assert_eq!(pages[0].rels(), ["next", "first", "last"]);
    assert_eq!(pages[2].rels(), ["prev", "first", "last"]);
    let names: Vec<_> = pages.iter().flat_map(|page| texts(&page.json(), "path")).collect();
    assert_eq!(names, ["repo-1", "repo-2", "repo-3", "repo-4", "repo-5"]);
    let beyond = get(&sim, "/projects?per_page=2&page=9").await;
    assert_eq!((beyond.body.as_slice(), beyond.rels()), (&b"[]"[..], vec!["first", "last"]));
    let latest = all(&sim, "/projects", "path").await;
    assert_eq!(latest, ["repo-5", "repo-4", "repo-3", "repo-2", "repo-1"], "the latest first unless asked");
}

#[tokio::test]
async fn keyset_pages_have_one_link_and_end_with_an_empty_page() {
    let sim = projects(4).await;
    let target = "/projects?membership=true&pagination=keyset&order_by=id&per_page=2&sort=";
    for (sort, parameter, ids) in [("asc", "id_after", [1, 2, 3, 4]), ("desc", "id_before", [4, 3, 2, 1])] {
        let pages = walk(&sim, &format!("{target}{sort}")).await;
        let lengths: Vec<_> = pages.iter().map(|page| page.json().as_array().unwrap().len()).collect();
        assert_eq!(lengths, [2, 2, 0], "{sort}");
        let seen = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone());
        let seen: Vec<_> = seen.map(|it| it["id"].as_u64().unwrap() - FIRST_ID + 1).collect();
        assert_eq!(seen, ids, "{sort}");
        assert_eq!(
            (pages[0].rels(), pages[1].rels(), pages[2].header("link")),
            (vec!["next"], vec!["next"], None)
        );
        assert!(pages[0].links()["next"].contains(&format!("{parameter}=")), "{:?}", pages[0].links());
        for name in ["x-page", "x-per-page", "x-next-page", "x-prev-page", TOTALS[0], TOTALS[1]] {
            assert!(pages.iter().all(|page| page.header(name).is_none()), "{name}");
        }
    }
    for target in ["/projects?pagination=keyset", "/projects?pagination=keyset&order_by=name"] {
        let refused = get(&sim, target).await;
        assert_eq!(refused.status, 405);
        assert!(
            refused.json()["error"].as_str().unwrap().starts_with("Keyset pagination is not yet available")
        );
    }
}

#[tokio::test]
async fn numbered_pages_of_projects_end_at_fifty_thousand() {
    let sim = projects(1).await;
    assert_eq!(get(&sim, "/projects?per_page=100&page=500").await.status, 200);
    let refused = get(&sim, "/projects?per_page=100&page=501").await;
    assert_eq!(refused.status, 405);
    let said = refused.json()["error"].as_str().unwrap().to_owned();
    assert!(said.starts_with("Offset pagination has a maximum allowed offset of 50000"), "{said}");
}

#[tokio::test]
async fn above_ten_thousand_branches_nobody_counts_them() {
    let sim = seeded(20).await;
    let world = sim.world();
    let missing = 10_000 - world.repository_truth("acme/repo-1").unwrap().branches.len();
    for number in 0..missing {
        world.create_branch("acme/repo-1", &format!("many/{number:05}"), "main").unwrap();
    }
    let target = format!("{FIRST}/repository/branches?per_page=100");
    let counted = get(&sim, &target).await;
    assert_eq!(TOTALS.map(|name| header(&counted, name)), ["10000", "100"]);
    assert!(counted.rels().contains(&"last"));
    world.create_branch("acme/repo-1", "zzz/last", "main").unwrap();
    for (page, next, entries) in [(1, "2", 100), (100, "101", 100), (101, "", 1)] {
        let shown = get(&sim, &format!("{target}&page={page}")).await;
        assert_eq!(TOTALS.map(|name| header(&shown, name)), ["absent", "absent"], "page {page}");
        assert_eq!((header(&shown, "x-next-page"), shown.rels().contains(&"last")), (next, false));
        assert_eq!(shown.json().as_array().unwrap().len(), entries);
        assert_eq!(shown.links().contains_key("next"), !next.is_empty());
    }
}
