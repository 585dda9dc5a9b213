//! Paths of MCPHub that are not here, and what to use instead.

/// The text of the refusal of a path that is no entrance. `base` stands in front of every path.
pub fn text(path: &str, base: &str) -> String {
    let what = format!(
        "MCP is served at {base}/mcp, {base}/mcp/{{group}} and {base}/mcp/{{server}}, HTTP+SSE below \
         {base}/sse in the same way"
    );
    let mut segments = path.trim_matches('/').split('/');
    let (first, second) = (segments.next().unwrap_or(""), segments.next().unwrap_or(""));
    let is_entrance = matches!(second, "mcp" | "sse" | "messages");
    let page = format!("the operators' page is at {base}/ui");
    let why = match first {
        "" => page.as_str(),
        "oauth" => "Mooring is no OAuth server: clients send a key",
        ".well-known" if second.starts_with("o") => {
            "Mooring is no OAuth server: clients send a key"
        }
        _ if is_entrance => "users have no URLs of their own here: leave the first part out",
        _ => return format!("{path}; {what}"),
    };
    format!("{path}; {why}; {what}")
}

/// The text of the refusal of a name behind `/mcp` that MCPHub gives a meaning of its own.
pub fn name(name: &str) -> Option<String> {
    let is_smart = name == "$smart" || name.starts_with("$smart/");
    is_smart.then(|| {
        "smart routing ($smart) is not there; use the path of a server or a group, or the one \
         without a name for all servers"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mcphub_has_there_is_named() {
        for (path, part) in [
            ("/admin/mcp", "leave the first part out"),
            ("/ann/mcp/desk", "leave the first part out"),
            ("/ann/sse", "leave the first part out"),
            ("/", "page is at /hub/ui;"),
            ("/oauth/authorize", "no OAuth server"),
            ("/.well-known/oauth-authorization-server", "no OAuth server"),
            ("/else", "/else; MCP is served at /hub/mcp,"),
        ] {
            let text = text(path, "/hub");
            assert!(text.contains(part) && text.contains("/hub/mcp/{server}"), "{text}");
        }
        assert!(name("$smart").is_some() && name("$smart/desk").is_some());
        assert_eq!(name("$smarty"), None);
    }
}
