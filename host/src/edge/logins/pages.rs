//! The pages that a user sees who logs in: plain, without scripts, and with nothing that could be framed.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

use crate::model::visible::visible;
use crate::net::Body;

/// Bytes of a text of others that is shown.
const MOST: usize = 400;
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'",
);

/// A page with a title, paragraphs, and perhaps a link.
pub fn page(
    status: StatusCode,
    title: &str,
    paragraphs: &[String],
    link: Option<(&str, &str)>,
) -> Response<Body> {
    let title = escaped(title);
    let text: String = paragraphs.iter().map(|text| format!("<p>{}</p>", escaped(text))).collect();
    let link = link.map_or_else(String::new, |(url, text)| {
        format!("<p><a rel=\"noreferrer\" href=\"{}\">{}</a></p>", written(url), escaped(text))
    });
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:4rem auto;\
         padding:0 1rem}}a{{font-weight:bold}}</style></head>\
         <body><h1>{title}</h1>{text}{link}</body></html>"
    );
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, HTML),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            HeaderValue::from_static("same-origin"),
        ),
    ] {
        headers.insert(name, value);
    }
    response
}

/// A text of others, as a page shows it.
fn escaped(text: &str) -> String {
    written(&visible(text, MOST).to_string())
}

fn written(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_others_becomes_markup() {
        let evil = "<script>alert('1')</script>\u{202e}";
        let response =
            page(StatusCode::OK, evil, &[evil.to_owned()], Some(("https://a/?x=\"><b>", evil)));
        assert_eq!(response.headers()["x-frame-options"], "DENY");
        let Body::Full(body) = response.into_body() else { panic!() };
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            !text.contains("<script") && !text.contains("\"><b>") && !text.contains('\u{202e}')
        );
        assert!(
            text.contains("&lt;script&gt;")
                && text.contains("href=\"https://a/?x=&quot;&gt;&lt;b&gt;\"")
        );
    }
}
