//! `/ui`: the operators' page. It is the same for everybody and holds nothing of this gateway; what
//! it shows comes from `/api`, which asks for a key.
//!
//! All names and texts on the page are those of others, so its script writes them as text only,
//! and the headers here leave no other way: nothing inline, nothing from elsewhere, no frame.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Admin;
use super::answer::ApiAnswer;
use super::extract::SiteCaller;

const HTML: &str = include_str!("page/page.html");
/// Stands in the page for the name of the header that carries the key.
const KEY_HEADER: &str = "{{key-header}}";

/// A file of the page, by its name below `/ui/`.
struct PageFile {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
}

const FILES: [PageFile; 9] = [
    script("page.js", include_str!("page/page.js")),
    script("stream.js", include_str!("page/stream.js")),
    script("tables.js", include_str!("page/tables.js")),
    script("columns.js", include_str!("page/columns.js")),
    script("decision.js", include_str!("page/decision.js")),
    script("log.js", include_str!("page/log.js")),
    script("drain.js", include_str!("page/drain.js")),
    PageFile {
        name: "page.css",
        kind: "text/css; charset=utf-8",
        text: include_str!("page/page.css"),
    },
    PageFile { name: "icon.svg", kind: "image/svg+xml", text: include_str!("page/icon.svg") },
];

const fn script(name: &'static str, text: &'static str) -> PageFile {
    PageFile { name, kind: "text/javascript; charset=utf-8", text }
}

/// What a browser may do with the page.
const RULES: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    // A new version of the gateway brings a new page.
    (header::CACHE_CONTROL, "no-cache"),
];

/// `/ui`. Its links are relative, so that they are right below any base path.
pub async fn page(_: SiteCaller, State(admin): State<Arc<Admin>>) -> Response {
    // Names of headers have no quotation marks.
    let name = admin.reloads.facts.load().key_header.as_str().replace('&', "&amp;");
    file("text/html; charset=utf-8", HTML.replace(KEY_HEADER, &name))
}

/// `/ui/`, where relative links would lead astray.
pub async fn with_slash(_: SiteCaller) -> Response {
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "../ui")]).into_response()
}

/// What belongs to the page.
pub async fn part(_: SiteCaller, Path(name): Path<String>) -> Response {
    match FILES.iter().find(|file| file.name == name) {
        Some(PageFile { kind, text, .. }) => file(kind, (*text).to_owned()),
        None => ApiAnswer::failure(StatusCode::NOT_FOUND, "Not found: the page is at /ui")
            .into_response(),
    }
}

fn file(kind: &'static str, text: String) -> Response {
    let mut response = ([(header::CONTENT_TYPE, kind)], text).into_response();
    for (name, value) in RULES {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the headers forbid must not be tried: it would only fail in the browser.
    #[test]
    fn nothing_is_inline_from_elsewhere_or_made_of_markup() {
        assert_eq!(HTML.matches(KEY_HEADER).count(), 1);
        let texts = FILES.iter().map(|file| (file.name, file.text)).chain([("page.html", HTML)]);
        for (name, text) in texts {
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
                "<style",
                "onclick=",
                "javascript:",
                "https://",
                "@import",
                "localStorage",
            ] {
                assert!(!text.contains(forbidden), "{name} has {forbidden}");
            }
            let of_svg = text.matches("http://www.w3.org/2000/svg").count();
            assert_eq!(text.matches("http://").count(), of_svg, "{name}");
        }
        for script in HTML.split("<script").skip(1) {
            assert!(script.contains("src=\"ui/") && script.contains("></script>"), "{script}");
        }
    }

    #[test]
    fn every_file_of_the_page_is_served() {
        for (at, _) in HTML.match_indices("\"ui/") {
            let name = HTML[at + 4..].split('"').next().unwrap();
            assert!(FILES.iter().any(|file| file.name == name), "{name}");
        }
        for file in &FILES {
            for rest in file.text.split("from \"./").skip(1) {
                let name = rest.split('"').next().unwrap();
                assert!(FILES.iter().any(|file| file.name == name), "{}: {name}", file.name);
            }
        }
    }
}
