//! Reads every page of every list of a server, over an open instance.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::net::Pool;
use crate::protocol::catalog::Catalog;
use crate::protocol::methods::List;
use crate::protocol::objects::object_only;
use crate::protocol::{initialize, splice};
use crate::runner::channel::answer::{CallError, RefusalKind};
use crate::runner::session::instance::Instance;

use super::own_call;

/// Pages read of one list: a server's cursors may never end.
const MAX_PAGES: usize = 1000;
/// Items after which no further page of a list is read.
const MAX_ITEMS: usize = 100_000;
/// Longest wait for one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads every page of every list whose capability the server announces.
pub async fn read_lists(instance: &Instance, pool: &Pool) -> Result<Catalog, CallError> {
    let text = String::from_utf8_lossy(&instance.result).into_owned();
    let initialize =
        RawValue::from_string(text).map_err(|e| CallError::Unanswered(e.to_string()))?;
    let offered = offered(&instance.result);
    let mut catalog = Catalog::new(initialize);
    for list in List::ALL {
        if !offered.contains(&list.capability()) {
            continue;
        }
        match read_list(instance, pool, list).await {
            Ok(items) => *catalog.items_mut(list) = items,
            Err(CallError::Refused(why, refusal)) if is_missing(list, refusal) => {
                tracing::debug!(method = list.method(), "{why}");
            }
            Err(error) => return Err(error),
        }
    }
    // Answers of a server that is going away do not show what it offers.
    match instance.is_lost() {
        true => Err(CallError::Unanswered("it ended while its lists were read".into())),
        false => Ok(catalog),
    }
}

/// Whether a list that was refused counts as empty. Not if the refusal is not the
/// server's: it may be temporary, and an empty list would be believed for good.
/// Servers refuse lists that they announce and do not have with various errors. For
/// tools, only an unknown method counts: no other error may cost a server its tools.
fn is_missing(list: List, refusal: RefusalKind) -> bool {
    match refusal {
        RefusalKind::NoSuchMethod => true,
        RefusalKind::Other => list != List::Tools,
        RefusalKind::NotTheServers => false,
    }
}

/// The list capabilities that the server announces, of `tools`, `prompts` and
/// `resources`.
fn offered(result: &[u8]) -> Vec<&'static str> {
    #[derive(Deserialize, Default)]
    #[serde(remote = "Self")]
    #[serde(default)]
    struct OfferedLists<'a> {
        #[serde(borrow)]
        tools: Option<&'a RawValue>,
        #[serde(borrow)]
        prompts: Option<&'a RawValue>,
        #[serde(borrow)]
        resources: Option<&'a RawValue>,
    }
    object_only!(OfferedLists<'de>);
    let read: OfferedLists<'_> = serde_json::from_slice::<initialize::InitializeResult<'_>>(result)
        .ok()
        .and_then(|outcome| serde_json::from_str(outcome.capabilities?.get()).ok())
        .unwrap_or_default();
    [("tools", read.tools), ("prompts", read.prompts), ("resources", read.resources)]
        .into_iter()
        .filter_map(|(name, there)| there.map(|_| name))
        .collect()
}

async fn read_list(
    instance: &Instance,
    pool: &Pool,
    list: List,
) -> Result<Vec<Box<RawValue>>, CallError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let params = match &cursor {
            Some(cursor) => format!("{{\"cursor\":{}}}", splice::quoted(cursor)),
            None => "{}".to_owned(),
        };
        let call = own_call::call(instance, pool, list.method(), &params);
        let result = tokio::time::timeout(PAGE_TIMEOUT, call)
            .await
            .map_err(|_| CallError::Unanswered(format!("{} took too long", list.method())))??;
        let (more, next) = page_of(&result, list).ok_or_else(|| {
            CallError::Unanswered(format!("{} has an invalid result", list.method()))
        })?;
        items.extend(more);
        // The same cursor would give the same page.
        if next.is_none() || next == cursor || items.len() > MAX_ITEMS {
            return Ok(items);
        }
        cursor = next;
    }
    Ok(items)
}

/// The items of one page, and the cursor of the next.
fn page_of(result: &[u8], list: List) -> Option<(Vec<Box<RawValue>>, Option<String>)> {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(result).ok()?;
    let items = serde_json::from_str(members.get(list.member())?.get()).ok()?;
    let next = members.get("nextCursor").and_then(|cursor| splice::string(cursor));
    Some((items, next))
}
