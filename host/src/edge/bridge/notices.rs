//! What became of the state of servers, told with the next result of a conversation.

use serde_json::value::RawValue;

use crate::edge::session::client_session::Session;
use crate::edge::worker::Edge;
use crate::protocol::era::meta;
use crate::protocol::jsonrpc::Envelope;
use crate::protocol::lenient::{self, Members};
use crate::protocol::splice;

impl Edge {
    /// The losses of the session that its client was not told of. They count as told.
    #[must_use]
    pub fn untold_losses(&self, session: &Session) -> Vec<String> {
        let lost = self.take_losses(session.id);
        let text = |server| {
            let notice = self.loss_notice(session.id, server);
            let params = Envelope::parse(&notice).ok()?.params?;
            Members::of(params.get())?.text("data")
        };
        lost.iter().filter_map(text).collect()
    }
}

/// The member of `_meta` with these notices; `None` if there are none.
#[must_use]
pub fn in_meta(notices: &[String]) -> Option<(&'static str, String)> {
    let texts: Vec<String> = notices.iter().map(|text| splice::quoted(text)).collect();
    (!texts.is_empty()).then(|| (meta::NOTICES, format!("[{}]", texts.join(","))))
}

/// A tool's result, whose content ends with the notices: models read nothing else. `None` if it has
/// no content, or there is nothing to tell.
#[must_use]
pub fn in_content(result: &str, notices: &[String]) -> Option<String> {
    if notices.is_empty() {
        return None;
    }
    let raw: &RawValue = serde_json::from_str(result).ok()?;
    let content = Members::of(raw.get())?.get("content")?;
    let has_some = !lenient::elements(Some(content))?.is_empty();
    let span = splice::span(result.as_bytes(), content)?;
    let inside = content.get().strip_prefix('[')?.strip_suffix(']')?;
    let told = notices.iter().map(|text| {
        let text = splice::quoted(&format!("Notice of the gateway: {text}"));
        format!("{{\"type\":\"text\",\"text\":{text}}}")
    });
    let told = told.collect::<Vec<_>>().join(",");
    let comma = if has_some { "," } else { "" };
    let content = format!("[{inside}{comma}{told}]");
    let bytes = splice::replace(result.as_bytes(), span, content.as_bytes());
    String::from_utf8(bytes.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_follow_the_content() {
        let told = ["server s was started again".to_owned()];
        assert_eq!(
            in_content(r#"{"content":[{"type":"text","text":"a"} ],"isError":false}"#, &told)
                .unwrap(),
            r#"{"content":[{"type":"text","text":"a"} ,{"type":"text","text":"Notice of the gateway: server s was started again"}],"isError":false}"#
        );
        assert!(in_content(r#"{"content":[]}"#, &told).unwrap().contains(":[{\"type\""));
        assert_eq!(in_content(r#"{"content":[]}"#, &[]), None);
        assert_eq!(in_content(r#"{"messages":[]}"#, &told), None);
        assert_eq!(in_meta(&[]), None);
        assert_eq!(in_meta(&told).unwrap().1, "[\"server s was started again\"]");
    }
}
