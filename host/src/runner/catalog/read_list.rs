//! Reads the pages of one list of a server. A flaw costs as little as it can: an entry, a page, the
//! rest of the list.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::model::visible::visible;
use crate::net::Pool;
use crate::protocol::depth::is_deeper;
use crate::protocol::lenient::{self, Members};
use crate::protocol::methods::List;
use crate::protocol::splice;
use crate::runner::channel::answer::{CallError, RefusalKind};
use crate::runner::session::instance::Instance;

use super::mended::{has_other_name, mended};
use super::own_call;

/// Pages read of one list: a server's cursors may never end.
const MAX_PAGES: usize = 1000;
/// Pages in a row without a new entry. One may be empty where entries are filtered.
const MAX_IDLE_PAGES: usize = 16;
/// Items after which no further page of a list is read.
const MAX_ITEMS: usize = 100_000;
/// Bytes of entries after which no further page of a list is read.
const MAX_BYTES: usize = 32 << 20;
/// Deepest nesting of an entry. Many clients read no deeper than 128 (serde_json) or 1000 (Python),
/// and lose a whole list with one entry that is; a list adds three levels to it.
const DEEPEST: usize = 100;
/// Pause before a server that is not ready yet is asked again, once.
const EARLY_PAUSE: Duration = Duration::from_millis(300);
/// Longest wait for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for all pages of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);

/// Bytes of an entry's name in a flaw.
const MAX_SHOWN: usize = 100;

/// What was read of one list.
#[derive(Debug, Default)]
pub struct ListRead {
    pub items: Vec<Box<RawValue>>,
    /// What is wrong with it, for the operator.
    pub flaws: Vec<String>,
    /// Whether the rest may be had later: there was no answer, or not the server's.
    pub is_cut: bool,
}

/// Reads every page of a list.
pub async fn read_list(instance: &Instance, pool: &Pool, list: List) -> ListRead {
    let mut read = ListRead::default();
    let mut seen = Seen::default();
    let deadline = Instant::now() + LIST_TIMEOUT;
    let mut cursor: Option<String> = None;
    let mut may_be_early = true;
    for _ in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => format!("{{\"cursor\":{}}}", splice::quoted(cursor)),
            None => "{}".to_owned(),
        };
        let call = own_call::call(instance, pool, list.method(), &params);
        let due = deadline.min(Instant::now() + PAGE_TIMEOUT);
        let page = match tokio::time::timeout_at(due, call).await {
            Ok(Ok(page)) => page,
            Ok(Err(error)) if is_early(&error) && std::mem::take(&mut may_be_early) => {
                tokio::time::sleep(EARLY_PAUSE).await;
                continue;
            }
            Ok(Err(error)) => {
                read.refused(list, &error);
                return read;
            }
            Err(_) => {
                read.is_cut = true;
                read.flaws.push(format!("{} was not answered in time", list.method()));
                return read;
            }
        };
        let Some(next) = read.take_page(list, &page, &mut seen) else { return read };
        if !seen.cursors.insert(next.clone()) || seen.idle_pages > MAX_IDLE_PAGES {
            read.flaws.push(format!(
                "{}: its nextCursor leads to nothing new; what came before it is listed",
                list.method()
            ));
            return read;
        }
        seen.bytes += page.len();
        if read.items.len() > MAX_ITEMS || seen.bytes > MAX_BYTES {
            break;
        }
        cursor = Some(next);
    }
    read.flaws.push(format!(
        "{}: it has more than {MAX_PAGES} pages, {MAX_ITEMS} entries or {} MiB; the rest is left out",
        list.method(),
        MAX_BYTES >> 20,
    ));
    read
}

/// Whether a server says that it is not ready yet: some take `notifications/initialized` up beside
/// the request that follows it.
fn is_early(error: &CallError) -> bool {
    let CallError::Refused(why, RefusalKind::Other) = error else { return false };
    why.to_ascii_lowercase().contains("initializ")
}

/// What the pages of a list have had so far.
#[derive(Default)]
struct Seen {
    /// Names or URIs.
    entries: HashSet<String>,
    cursors: HashSet<String>,
    /// Of the pages, in all.
    bytes: usize,
    /// Pages in a row that brought nothing new.
    idle_pages: usize,
    has_told_of_repeats: bool,
}

impl ListRead {
    fn refused(&mut self, list: List, error: &CallError) {
        let method = list.method();
        match error {
            // Servers announce lists that they do not have, templates above all.
            CallError::Refused(_, RefusalKind::NoSuchMethod) => {
                tracing::debug!(method, "{error}");
            }
            // For tools it may be temporary: no error costs a server its tools for good.
            CallError::Refused(why, RefusalKind::Other) => {
                self.is_cut = list == List::Tools;
                self.flaws.push(format!("{method} was refused: {why}"));
            }
            CallError::Refused(why, RefusalKind::NotTheServers) | CallError::Unanswered(why) => {
                self.is_cut = true;
                self.flaws.push(format!("{method} was not answered: {why}"));
            }
        }
    }

    /// Adds the entries of one page. Returns the cursor of the next.
    fn take_page(&mut self, list: List, page: &[u8], seen: &mut Seen) -> Option<String> {
        let (method, member) = (list.method(), list.member());
        let Some(members) = Members::of_bytes(page) else {
            self.flaws.push(format!("{method}: its result is no object"));
            return None;
        };
        let before = self.items.len();
        match lenient::elements(members.get(member)) {
            Some(items) => {
                for item in items {
                    self.take_item(list, item, seen);
                }
            }
            None => self.flaws.push(format!("{method}: \"{member}\" in its result is no array")),
        }
        // An empty one is a cursor too (2025-11-25, server/utilities/pagination).
        let next = members.get("nextCursor")?;
        let Some(next) = lenient::text(next) else {
            self.flaws.push(format!("{method}: \"nextCursor\" in its result is no string"));
            return None;
        };
        let is_idle = self.items.len() == before;
        // A page whose entries are all known would come again and again.
        let has_repeats = is_idle && members.get(member).is_some_and(|all| all.get().len() > 2);
        seen.idle_pages = match (is_idle, has_repeats) {
            (true, true) => MAX_IDLE_PAGES + 1,
            (true, false) => seen.idle_pages + 1,
            (false, _) => 0,
        };
        Some(next)
    }

    /// Notes a flaw that many entries may have. Told once, however many there are.
    fn note(&mut self, flaw: String) {
        if !self.flaws.contains(&flaw) {
            self.flaws.push(flaw);
        }
    }

    fn take_item(&mut self, list: List, item: &RawValue, seen: &mut Seen) {
        let (method, key) = (list.method(), list.key());
        let members = Members::of(item.get()).unwrap_or_default();
        let Some(name) = members.text(key) else {
            self.note(format!("{method}: an entry without a \"{key}\" is left out"));
            return;
        };
        if is_deeper(item.get().as_bytes(), DEEPEST) {
            self.note(format!(
                "{method}: {}, an entry that is nested deeper than {DEEPEST} levels, is left out",
                visible(&name, MAX_SHOWN)
            ));
            return;
        }
        if has_other_name(&members, key, &name) {
            self.note(format!(
                "{method}: {}, an entry of which some readers read another \"{key}\", is left out",
                visible(&name, MAX_SHOWN)
            ));
            return;
        }
        if seen.entries.contains(&name) {
            if !std::mem::replace(&mut seen.has_told_of_repeats, true) {
                self.flaws.push(format!("{method}: an entry comes twice, {name}"));
            }
            return;
        }
        let item = match mended(list, &members) {
            Some((item, changes)) => {
                for change in changes {
                    self.note(format!("{method}: an entry {change}"));
                }
                item
            }
            None => item.to_owned(),
        };
        seen.entries.insert(name);
        self.items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(list: List, pages: &[&str]) -> (ListRead, Vec<Option<String>>) {
        let (mut read, mut seen) = (ListRead::default(), Seen::default());
        let next = pages.iter().map(|page| read.take_page(list, page.as_bytes(), &mut seen));
        let next = next.collect();
        (read, next)
    }

    #[test]
    fn an_entry_that_cannot_be_listed_costs_itself_alone() {
        let (read, next) = pages(
            List::Prompts,
            &[
                r#"{"prompts":[null,{"name":7},{"name":"a","x":"\ud83d"},{"name":"a"},{"name":"b"}],"nextCursor":null}"#,
            ],
        );
        let names: Vec<&str> = read.items.iter().map(|item| item.get()).collect();
        assert_eq!(names, [r#"{"name":"a","x":"\ud83d"}"#, r#"{"name":"b"}"#]);
        assert_eq!((read.flaws.len(), read.is_cut), (2, false), "{:?}", read.flaws);
        assert_eq!(next, [None]);
    }

    #[test]
    fn an_entry_is_listed_only_if_clients_can_read_it() {
        for (depth, is_listed) in [(DEEPEST - 1, true), (DEEPEST, false), (100_000, false)] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            for list in List::ALL {
                let (member, key) = (list.member(), list.key());
                let page = format!(
                    r#"{{"{member}":[{{"{key}":"a","x":{deep}}},{{"{key}":"b","x":"[[[["}}]}}"#
                );
                let (read, _) = pages(list, &[&page]);
                assert_eq!(read.items.len(), 1 + usize::from(is_listed), "{member} {depth}");
                let flaws = usize::from(!is_listed);
                assert_eq!(read.flaws.iter().filter(|f| f.contains(": a, ")).count(), flaws);
            }
        }
    }

    #[test]
    fn a_change_of_many_entries_is_told_once() {
        let page = r#"{"tools":[{"name":"a"},{"name":"b"},{"name":"c","Name":null,"inputSchema":{"type":"object"}},{"name":"d","name":"e"}]}"#;
        let (read, _) = pages(List::Tools, &[page]);
        assert_eq!((read.items.len(), read.flaws.len()), (3, 3), "{:?}", read.flaws);
        let schema = r#"{"name":"b","inputSchema":{"type":"object"}}"#;
        assert_eq!(read.items[1].get(), schema);
    }

    #[test]
    fn what_is_no_list_is_empty() {
        for page in [r#"{"resources":null}"#, r#"{"resources":{}}"#, "{}", "[]"] {
            let (read, _) = pages(List::Resources, &[page]);
            assert!(read.items.is_empty() && read.flaws.is_empty(), "{page} {:?}", read.flaws);
        }
        for page in [r#"{"resources":7}"#, r#"{"resources":{"a":1}}"#, "7", "null"] {
            let (read, _) = pages(List::Resources, &[page]);
            assert!(read.items.is_empty() && read.flaws.len() == 1, "{page} {:?}", read.flaws);
        }
    }

    #[test]
    fn an_empty_cursor_leads_on() {
        let one = r#"{"prompts":[{"name":"a"}],"nextCursor":""}"#;
        let (read, next) = pages(List::Prompts, &[one, r#"{"prompts":[{"name":"b"}]}"#]);
        assert_eq!((read.items.len(), read.flaws.len()), (2, 0));
        assert_eq!(next, [Some(String::new()), None]);
    }
}
