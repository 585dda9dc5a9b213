//! Bounds that an operator may move: `systemConfig.limits`. Each default is
//! generous for honest use and small beside the memory of one machine.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::reader::section::Section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body; beyond it 413. Base64 attachments fit.
    pub request_body: usize,
    /// Bytes of a request kept for a repeat, at most `request_body`.
    pub kept_body: usize,
    /// Bytes of one line of a child's output or one event of a stream.
    pub line: usize,
    /// Bytes of all request headers; beyond it 431.
    pub header_block: usize,
    /// Live sessions of one principal; beyond it 429.
    pub sessions_per_principal: usize,
    /// Requests of one session that wait for an answer.
    pub in_flight_per_session: usize,
    /// Events of one stream that are kept for a client that comes back.
    pub buffered_events: usize,
    /// Bytes of those events, or of what waits until a client of HTTP+SSE reads.
    pub buffered_bytes: usize,
    /// Entries of one page of a list of several servers. Large, since not every
    /// client asks for the next page.
    pub page_size: usize,
    pub children_per_server: usize,
    /// Of all servers together.
    pub children_per_node: usize,
    /// Of one principal; as many as the node has if absent.
    pub children_per_principal: Option<usize>,
    /// A process that is unused for longer gives way where one of these is reached.
    pub unused: Duration,
    /// Servers that are started at the same time; by the number of cores if
    /// absent.
    pub simultaneous_starts: Option<usize>,
    /// Silence on a stream before a keep-alive comment; below the 30 s after
    /// which common proxies give up.
    pub keep_alive: Duration,
}

struct Bound {
    key: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
}

const REQUEST_BODY: Bound = bound("requestBody", 16 * MIB, KIB..=1024 * MIB);
const KEPT_BODY: Bound = bound("keptBody", 64 * KIB, 0..=16 * MIB);
const LINE: Bound = bound("line", 64 * MIB, 64 * KIB..=1024 * MIB);
const HEADER_BLOCK: Bound = bound("headerBlock", 64 * KIB, 8 * KIB..=MIB);
const SESSIONS: Bound = bound("sessionsPerPrincipal", 10_000, 1..=10_000_000);
const IN_FLIGHT: Bound = bound("inFlightPerSession", 256, 1..=65_536);
const BUFFERED_EVENTS: Bound = bound("bufferedEvents", 1024, 1..=1_000_000);
const BUFFERED_BYTES: Bound = bound("bufferedBytes", 4 * MIB, 64 * KIB..=1024 * MIB);
const PAGE_SIZE: Bound = bound("pageSize", 1000, 1..=100_000);
const CHILDREN_PER_SERVER: Bound = bound("childrenPerServer", 100, 1..=100_000);
const CHILDREN_PER_NODE: Bound = bound("childrenPerNode", 500, 1..=100_000);
const CHILDREN_PER_PRINCIPAL: Bound = bound("childrenPerPrincipal", 0, 1..=100_000);
const UNUSED_MS: Bound = bound("unusedAfterMs", 60_000, 100..=86_400_000);
const SIMULTANEOUS_STARTS: Bound = bound("simultaneousStarts", 0, 1..=10_000);
const KEEP_ALIVE_MS: Bound = bound("keepAlive", 15_000, 100..=3_600_000);

const fn bound(key: &'static str, default: u64, range: RangeInclusive<u64>) -> Bound {
    Bound { key, default, range }
}

pub(in crate::config) fn read(system: &Section<'_>) -> Limits {
    let section = system.section("limits");
    let number = |bound: &Bound| section.whole(bound.key, bound.default, bound.range.clone());
    // The ranges end far below what usize holds, on every target.
    let size = |bound: &Bound| usize::try_from(number(bound)).unwrap_or(usize::MAX);
    let limits = Limits {
        request_body: size(&REQUEST_BODY),
        kept_body: size(&KEPT_BODY),
        line: size(&LINE),
        header_block: size(&HEADER_BLOCK),
        sessions_per_principal: size(&SESSIONS),
        in_flight_per_session: size(&IN_FLIGHT),
        buffered_events: size(&BUFFERED_EVENTS),
        buffered_bytes: size(&BUFFERED_BYTES),
        page_size: size(&PAGE_SIZE),
        children_per_server: size(&CHILDREN_PER_SERVER),
        children_per_node: size(&CHILDREN_PER_NODE),
        children_per_principal: if_any(size(&CHILDREN_PER_PRINCIPAL)),
        unused: Duration::from_millis(number(&UNUSED_MS)),
        simultaneous_starts: if_any(size(&SIMULTANEOUS_STARTS)),
        keep_alive: Duration::from_millis(number(&KEEP_ALIVE_MS)),
    };
    at_most(&section, "keptBody", limits.kept_body, "requestBody", limits.request_body);
    limits
}

/// Zero cannot be written: it stands for an absent key.
fn if_any(size: usize) -> Option<usize> {
    Some(size).filter(|size| *size > 0)
}

fn at_most(section: &Section<'_>, key: &str, value: usize, other: &str, limit: usize) {
    if value > limit
        && let Some(item) = section.get(key).or_else(|| section.get(other))
    {
        let message = format!("{key} is {value}, more than {other} with {limit}");
        item.refuse(message, format!("lower {key} or raise {other}"));
    }
}
