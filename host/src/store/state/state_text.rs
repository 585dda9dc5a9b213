//! The states of one session as text, for a sealed file, and back.

use std::collections::{BTreeMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::model::{Keep, ServerName, UnixMillis};
use crate::protocol::objects::object_only;

use super::state_log::{KeptCall, SavedState, StateLog, size};

/// What is kept of one session, by server.
pub type Logs = BTreeMap<ServerName, StateLog>;

/// The form of the text. Files of another one are not read.
const FORM: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct StatesText {
    form: u32,
    servers: Vec<LogText>,
}
object_only!(both StatesText);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct LogText {
    server: String,
    calls: Vec<CallText>,
    dropped: u32,
    unsettled: Vec<String>,
    #[serde(default)]
    saved: Option<SavedText>,
    unsaved: u32,
    changes: u64,
    saved_changes: u64,
    #[serde(default)]
    taken: BTreeMap<String, u64>,
}
object_only!(both LogText);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct CallText {
    tool: String,
    params: String,
    at: u64,
    keep: u8,
    was_error: bool,
    number: u64,
    /// Versions before it wrote none.
    #[serde(default)]
    mark: u64,
}
object_only!(both CallText);

#[derive(Serialize, Deserialize)]
#[serde(remote = "Self")]
struct SavedText {
    bytes: String,
    is_result: bool,
    at: u64,
}
object_only!(both SavedText);

/// The logs as text.
#[must_use]
pub fn written(logs: &Logs) -> Vec<u8> {
    let servers = logs.iter().map(|(server, log)| LogText {
        server: server.to_string(),
        calls: log.calls.iter().map(call_text).collect(),
        dropped: log.dropped,
        unsettled: log.unsettled.clone(),
        saved: log.saved.as_ref().map(|saved| SavedText {
            bytes: STANDARD.encode(&saved.bytes),
            is_result: saved.is_result,
            at: saved.at.0,
        }),
        unsaved: log.unsaved,
        changes: log.changes,
        saved_changes: log.saved_changes,
        taken: log.taken.clone(),
    });
    let text = StatesText { form: FORM, servers: servers.collect() };
    serde_json::to_vec(&text).unwrap_or_default()
}

/// The logs of such a text; `None` if it is none.
#[must_use]
pub fn read(text: &[u8]) -> Option<Logs> {
    let text: StatesText = serde_json::from_slice(text).ok()?;
    if text.form != FORM {
        return None;
    }
    text.servers.into_iter().map(log).collect()
}

fn log(text: LogText) -> Option<(ServerName, StateLog)> {
    let calls: VecDeque<KeptCall> = text.calls.into_iter().map(call).collect();
    let saved = match text.saved {
        Some(saved) => Some(SavedState {
            bytes: STANDARD.decode(saved.bytes).ok()?.into(),
            is_result: saved.is_result,
            at: UnixMillis(saved.at),
        }),
        None => None,
    };
    let log = StateLog {
        bytes: calls.iter().map(size).sum(),
        calls,
        dropped: text.dropped,
        unsettled: text.unsettled,
        saved,
        unsaved: text.unsaved,
        changes: text.changes,
        saved_changes: text.saved_changes,
        taken: text.taken,
    };
    Some((ServerName::parse(&text.server).ok()?, log))
}

fn call_text(call: &KeptCall) -> CallText {
    CallText {
        tool: call.tool.clone(),
        params: call.params.clone(),
        at: call.at.0,
        keep: match call.keep {
            Keep::All => 0,
            Keep::Last => 1,
            Keep::SinceSave => 2,
        },
        was_error: call.was_error,
        number: call.number,
        mark: call.mark,
    }
}

fn call(text: CallText) -> KeptCall {
    KeptCall {
        tool: text.tool,
        params: text.params,
        at: UnixMillis(text.at),
        keep: match text.keep {
            1 => Keep::Last,
            2 => Keep::SinceSave,
            _ => Keep::All,
        },
        was_error: text.was_error,
        number: text.number,
        mark: text.mark,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::LogBounds;

    #[test]
    fn logs_survive_their_text() {
        let bounds = LogBounds { calls: 9, bytes: 9999, age: Duration::MAX };
        let mut log = StateLog::default();
        for keep in [Keep::All, Keep::Last, Keep::SinceSave] {
            log.keep(
                KeptCall {
                    tool: "\u{e4}".into(),
                    params: "{\"a\":1.50}".into(),
                    at: UnixMillis(5),
                    keep,
                    was_error: true,
                    number: 0,
                    mark: u64::MAX,
                },
                &bounds,
            );
        }
        log.note_change();
        log.note_unsettled("b");
        let saved = SavedState { bytes: vec![0, 255].into(), is_result: true, at: UnixMillis(7) };
        log.save(saved, log.mark());
        log.note_change();
        let logs = Logs::from([(ServerName::parse("a").unwrap(), log)]);
        assert_eq!(read(&written(&logs)), Some(logs));
        assert_eq!(read(b"{\"form\":2,\"servers\":[]}"), None);
        assert_eq!(read(b"[1,[]]"), None);
        assert_eq!(read(b""), None);
    }
}
