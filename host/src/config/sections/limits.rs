//! Limits that an operator may change: `systemConfig.limits`. Each default is generous
//! for honest use and small compared with the memory of one machine.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::config::reader::section::Section;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request body; a larger one gets 413. Base64 attachments fit.
    pub request_body: usize,
    /// Bytes of a request body that is kept for a repeat; at most `request_body`. A
    /// larger body is streamed and never repeated.
    pub kept_body: usize,
    /// Bytes of one message of a server: a line of output, or an event of a stream. A
    /// longer one is dropped.
    pub line: usize,
    /// Connections of clients; `None`: derived from the descriptors that the process may
    /// have. Beyond, the one that was silent for longest is closed.
    pub connections: Option<usize>,
    /// The same for one address; of IPv6 a /64 counts as one.
    pub connections_per_address: usize,
    /// Bytes of all request bodies that are kept; half of it for one client.
    pub bodies_in_memory: usize,
    /// Least bytes a second of a request body and of the reading of an answer.
    pub body_rate: u64,
    /// Time for the head of a request.
    pub head_timeout: Duration,
    /// Time without a byte of a request body; the rate is taken over the same time.
    pub body_timeout: Duration,
    /// Time in which a client reads nothing of its answer; its rate likewise.
    pub read_timeout: Duration,
    /// Bytes of the request line and all headers; more get 431.
    pub header_block: usize,
    /// Live sessions of one credential or, without one, of one address; more get 429.
    pub sessions_per_principal: usize,
    /// Live sessions of all principals together; `None`: 100,000, or those of one principal if
    /// they are more.
    pub sessions: Option<usize>,
    /// Requests of one session that wait for an answer; more get 429.
    pub in_flight_per_session: usize,
    /// Events of one stream that are kept for a client that reconnects.
    pub buffered_events: usize,
    /// Bytes of those events, or of events that wait for a slow HTTP+SSE client.
    pub buffered_bytes: usize,
    /// Bytes of all streams that are kept for their clients; at least `line`.
    pub kept_answers: usize,
    /// Entries in one page of a list that merges several servers. Large, since not
    /// every client asks for the next page.
    pub page_size: usize,
    /// Processes of one server's sessions on this node.
    pub children_per_server: usize,
    /// Processes of all servers' sessions on this node.
    pub children_per_node: usize,
    /// Processes of one principal's sessions on this node; `None`: a share of
    /// `children_per_node`.
    pub children_per_principal: Option<usize>,
    /// Where a limit on processes is reached, a process that has been unused for longer
    /// is stopped to make room.
    pub unused: Duration,
    /// Servers that start at the same time; `None`: a number derived from the cores.
    pub simultaneous_starts: Option<usize>,
    /// Silence on a stream before a keep-alive comment. The default is half of the 30 s
    /// after which common proxies close a silent stream.
    pub keep_alive: Duration,
    /// Bytes of all files in the data folder.
    pub data_folder: u64,
}

struct Bound {
    key: &'static str,
    default: u64,
    range: RangeInclusive<u64>,
}

const REQUEST_BODY: Bound = bound("requestBody", 16 * MIB, KIB..=1024 * MIB);
const KEPT_BODY: Bound = bound("keptBody", 64 * KIB, 0..=16 * MIB);
const LINE: Bound = bound("line", 64 * MIB, 64 * KIB..=1024 * MIB);
const CONNECTIONS: Bound = bound("connections", 0, 1..=10_000_000);
const CONNECTIONS_PER_ADDRESS: Bound = bound("connectionsPerAddress", 1000, 1..=10_000_000);
const BODIES_IN_MEMORY: Bound = bound("bodiesInMemory", 256 * MIB, 64 * KIB..=1024 * 1024 * MIB);
const BODY_RATE: Bound = bound("bodyRate", KIB, 1..=MIB);
const HEAD_MS: Bound = bound("headTimeout", 10_000, 1000..=3_600_000);
const BODY_MS: Bound = bound("bodyTimeout", 30_000, 1000..=3_600_000);
const READ_MS: Bound = bound("readTimeout", 120_000, 1000..=3_600_000);
const HEADER_BLOCK: Bound = bound("headerBlock", 64 * KIB, 8 * KIB..=MIB);
const SESSIONS: Bound = bound("sessionsPerPrincipal", 10_000, 1..=10_000_000);
const SESSIONS_IN_ALL: Bound = bound("sessions", 0, 1..=100_000_000);
const IN_FLIGHT: Bound = bound("inFlightPerSession", 256, 1..=65_536);
const BUFFERED_EVENTS: Bound = bound("bufferedEvents", 1024, 1..=1_000_000);
const BUFFERED_BYTES: Bound = bound("bufferedBytes", 4 * MIB, 64 * KIB..=1024 * MIB);
const KEPT_ANSWERS: Bound = bound("keptAnswers", 256 * MIB, MIB..=1024 * 1024 * MIB);
const PAGE_SIZE: Bound = bound("pageSize", 1000, 1..=100_000);
const CHILDREN_PER_SERVER: Bound = bound("childrenPerServer", 100, 1..=100_000);
const CHILDREN_PER_NODE: Bound = bound("childrenPerNode", 500, 1..=100_000);
const CHILDREN_PER_PRINCIPAL: Bound = bound("childrenPerPrincipal", 0, 1..=100_000);
const UNUSED_MS: Bound = bound("unusedAfterMs", 60_000, 100..=86_400_000);
const SIMULTANEOUS_STARTS: Bound = bound("simultaneousStarts", 0, 1..=10_000);
const DATA_FOLDER: Bound = bound("dataFolder", 1024 * MIB, MIB..=1024 * 1024 * MIB);
const KEEP_ALIVE_MS: Bound = bound("keepAlive", 15_000, 100..=3_600_000);

const fn bound(key: &'static str, default: u64, range: RangeInclusive<u64>) -> Bound {
    Bound { key, default, range }
}

pub(in crate::config) fn read(system: &Section<'_>) -> Limits {
    let section = system.section("limits");
    let number = |bound: &Bound| section.whole(bound.key, bound.default, bound.range.clone());
    // What does not fit into a `usize` is more than this machine could have.
    let size = |bound: &Bound| usize::try_from(number(bound)).unwrap_or(usize::MAX);
    let request_body = size(&REQUEST_BODY);
    let line = size(&LINE);
    let mut limits = Limits {
        request_body,
        connections: if_any(size(&CONNECTIONS)),
        connections_per_address: size(&CONNECTIONS_PER_ADDRESS),
        bodies_in_memory: match section.get(BODIES_IN_MEMORY.key) {
            Some(_) => size(&BODIES_IN_MEMORY),
            // Four of the largest bodies at least.
            None => size(&BODIES_IN_MEMORY).max(request_body.saturating_mul(4)),
        },
        body_rate: number(&BODY_RATE),
        head_timeout: Duration::from_millis(number(&HEAD_MS)),
        body_timeout: Duration::from_millis(number(&BODY_MS)),
        read_timeout: Duration::from_millis(number(&READ_MS)),
        kept_body: size(&KEPT_BODY),
        line,
        header_block: size(&HEADER_BLOCK),
        sessions_per_principal: size(&SESSIONS),
        sessions: if_any(size(&SESSIONS_IN_ALL)),
        in_flight_per_session: size(&IN_FLIGHT),
        buffered_events: size(&BUFFERED_EVENTS),
        buffered_bytes: size(&BUFFERED_BYTES),
        kept_answers: match section.get(KEPT_ANSWERS.key) {
            Some(_) => size(&KEPT_ANSWERS),
            None => size(&KEPT_ANSWERS).max(line.saturating_mul(4)),
        },
        page_size: size(&PAGE_SIZE),
        children_per_server: size(&CHILDREN_PER_SERVER),
        children_per_node: size(&CHILDREN_PER_NODE),
        children_per_principal: if_any(size(&CHILDREN_PER_PRINCIPAL)),
        unused: Duration::from_millis(number(&UNUSED_MS)),
        simultaneous_starts: if_any(size(&SIMULTANEOUS_STARTS)),
        keep_alive: Duration::from_millis(number(&KEEP_ALIVE_MS)),
        data_folder: number(&DATA_FOLDER),
    };
    let Limits { bodies_in_memory, kept_answers, .. } = limits;
    at_most(&section, "requestBody", &mut limits.request_body, "bodiesInMemory", bodies_in_memory);
    let request_body = limits.request_body;
    at_most(&section, "keptBody", &mut limits.kept_body, "requestBody", request_body);
    at_most(&section, "line", &mut limits.line, "keptAnswers", kept_answers);
    limits
}

/// `None` for zero, which the file cannot contain: it stands for an absent key.
fn if_any(size: usize) -> Option<usize> {
    Some(size).filter(|size| *size > 0)
}

/// Lowers a limit to another one that it cannot exceed.
fn at_most(section: &Section<'_>, key: &str, value: &mut usize, other: &str, limit: usize) {
    if *value <= limit {
        return;
    }
    if let Some(item) = section.get(key).or_else(|| section.get(other)) {
        let message = format!("{key} is {value}, more than {other}, and so counts as {limit}");
        item.warn(message, format!("lower {key} or raise {other}"));
    }
    *value = limit;
}
