//! The simulator over real HTTP on loopback: what a client of GitHub, GitLab or Jira would see.
//! Must never look inside; a real git repository or the world's own truth is what answers are compared with.

#[cfg(test)]
mod activity;
#[cfg(test)]
mod client;
#[cfg(test)]
mod control;
#[cfg(test)]
mod endpoint;
#[cfg(test)]
mod fault;
#[cfg(test)]
mod git;
#[cfg(test)]
mod gitlab;
#[cfg(test)]
mod history;
#[cfg(test)]
mod issue;
#[cfg(test)]
mod jira;
#[cfg(test)]
mod limit;
#[cfg(test)]
mod paging;
