//! Responses to a POST that are more, or other, than an answer in one piece.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body::{Body as _, Frame};

use crate::model::ServerName;
use crate::net::{Body, Failure, Piece, Through, is_event_stream, is_like_events};
use crate::protocol::answer::{self, AnswerStart, is_answer_to};
use crate::protocol::headers;
use crate::protocol::jsonrpc::{self, Envelope, Kind, code};
use crate::protocol::passing_answer::PassingAnswer;
use crate::runner::channel::answer::{RunnerAnswer, mark_own};
use crate::runner::channel::in_flight::Asker;
use crate::runner::channel::judge::{self, Judged, ResponseHead};
use crate::runner::channel::responses;
use crate::runner::unserved;
use crate::streams::response as events;

use super::answers::AnswerSource;
use super::call::HttpCall;
use super::errors;
use super::gathered::{self, Gathered};
use super::http::RemoteHttp;
use super::reader;

impl RemoteHttp {
    /// The response for the client. `about` is the first message, `requests` are those that are
    /// owed an answer.
    pub(super) async fn judged(
        &self,
        call: HttpCall<'_>,
        response: Response<Body>,
        about: &Envelope<'_>,
        requests: &[&Envelope<'_>],
        takes_events: bool,
    ) -> Response<Body> {
        let session = &self.session;
        let asker = Asker::of(takes_events);
        let response = response.map(without_mark);
        let upstream = session.client.upstream();
        let head = upstream.head_of(&response);
        if let Some(refused) = upstream.refuses_user(&head) {
            // A server that answers so has not executed it, and still waits for an answer.
            if about.kind() == Kind::Response {
                session.mailbox().questions.ask(about);
            }
            return unserved::token_refused(&session.server, about.id_text(), &refused);
        }
        if requests.is_empty() {
            return self.taken(&call, response, &head, about).await;
        }
        if !head.status.is_success() {
            let limit = session.rules.line;
            let text = errors::beginning_or_answer(response.into_body(), limit).await;
            if session.is_forgotten_by(head.status, &text)
                && !errors::is_answer(&text, about.id_text())
            {
                session.forget();
                return self.forgotten(about);
            }
            return self.answered(&head, requests, &text, asker);
        }
        if is_event_stream(&response) || is_like_events(response.body()) {
            let source = AnswerSource::Stream(response.into_body());
            return self.stream(call, source, about, takes_events).await;
        }
        let is_several = || {
            first_byte(response.body()) == Some(b'[')
                || is_lines(&response)
                || answer::begins_several(response.body().beginning())
        };
        if !response.body().is_end_stream() && (requests.len() > 1 || is_several()) {
            let source = AnswerSource::Json(Box::new(head), response.into_body());
            return self.stream(call, source, about, takes_events).await;
        }
        if let Body::Begun(beginning, _) = response.body()
            && answer::begins(beginning) == AnswerStart::Open
        {
            return Box::pin(self.in_pieces(call, response, head, (about, requests), takes_events))
                .await;
        }
        let text = match response.into_body() {
            Body::Full(text) => text,
            body => errors::beginning(body).await,
        };
        self.answered(&head, requests, &text, asker)
    }

    /// The response to messages that no answer is owed to: to its client the gateway is the server,
    /// and has accepted them (2025-11-25, basic/transports, "Sending Messages to the Server").
    async fn taken(
        &self,
        call: &HttpCall<'_>,
        response: Response<Body>,
        head: &ResponseHead,
        about: &Envelope<'_>,
    ) -> Response<Body> {
        let session = &self.session;
        if head.status.is_success() {
            if is_event_stream(&response) {
                // It should not be there; what the server says on it is heard all the same.
                let body = response.into_body();
                reader::hear(Arc::clone(session), call.pool().clone(), body);
            }
            return responses::accepted();
        }
        let text = errors::beginning(response.into_body()).await;
        if session.is_forgotten_by(head.status, &text) {
            session.forget();
            return self.forgotten(about);
        }
        let said = judge::said(&session.server, head, &text);
        tracing::debug!(server = %session.server, method = about.method(), "not accepted: {said}");
        if about.kind() == Kind::Response {
            // The server still waits for this answer: the client may send it again.
            session.mailbox().questions.ask(about);
            let mut response = events::json(jsonrpc::error(None, code::INTERNAL, &said));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            if let Some(after) = head.retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, headers::whole_seconds(after));
            }
            mark_own(&mut response, code::INTERNAL);
            return response;
        }
        responses::accepted()
    }

    /// What a whole body is to each request.
    fn answered(
        &self,
        head: &ResponseHead,
        requests: &[&Envelope<'_>],
        body: &Bytes,
        asker: Asker,
    ) -> Response<Body> {
        let ids = requests.iter().filter_map(|request| request.id_text());
        let judged: Vec<Judged> =
            ids.map(|id| judge::judge(&self.session.server, id, head, body)).collect();
        for judged in judged.iter().filter(|_| asker == Asker::Client) {
            match judged {
                Judged::Answer(answer) => self.session.errors.note_text(answer),
                Judged::Error(error) => self.session.errors.note_error(error),
            }
        }
        let is_servers = judged.iter().all(|judged| matches!(judged, Judged::Answer(_)));
        let mut messages: Vec<Bytes> = judged.into_iter().map(Judged::message).collect();
        let message = match messages.len() {
            1 => messages.pop().unwrap_or_default(),
            _ => [&b"["[..], &messages.join(&b","[..]), b"]"].concat().into(),
        };
        let mut response = events::json(message);
        if !is_servers {
            response.extensions_mut().insert(RunnerAnswer);
        }
        if let Some(after) = head.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, headers::whole_seconds(after));
        }
        response
    }

    /// The response to a request whose answer is still arriving. A small one is waited for, so that
    /// one that breaks off is an error and not a connection that breaks off.
    async fn in_pieces(
        &self,
        call: HttpCall<'_>,
        response: Response<Body>,
        head: ResponseHead,
        (about, requests): (&Envelope<'_>, &[&Envelope<'_>]),
        takes_events: bool,
    ) -> Response<Body> {
        if gathered::is_large(&response) {
            return self.watched(response, about);
        }
        let asker = Asker::of(takes_events);
        let is_small = response.headers().contains_key(header::CONTENT_LENGTH);
        let (parts, body) = response.into_parts();
        match gathered::gather(body).await {
            Gathered::Whole(text) if about.id_text().is_some_and(|id| is_answer_to(&text, id)) => {
                if asker == Asker::Client {
                    self.session.errors.note_text(&text);
                }
                responses::passed_on(Response::from_parts(parts, Body::Full(text)))
            }
            Gathered::Whole(text) => self.answered(&head, requests, &text, asker),
            Gathered::Broken(why) => self.unreachable(about, &Failure::Broken(why)),
            Gathered::More(body) if is_small => {
                let source = AnswerSource::Json(Box::new(head), body);
                self.stream(call, source, about, takes_events).await
            }
            Gathered::More(body) => self.watched(Response::from_parts(parts, body), about),
        }
    }

    /// The response with an answer that is still arriving. If it turns out to be none, its
    /// transfer breaks off, so that no client takes it for one.
    fn watched(&self, response: Response<Body>, about: &Envelope<'_>) -> Response<Body> {
        let passing = about.id_text().map(|id| PassingAnswer::new(id, judge::is_same));
        let server = self.session.server.clone();
        responses::passed_on(response).map(|body| match passing {
            Some(passing) => {
                let ready = VecDeque::new();
                Body::Through(Box::new(Watched { body, passing, ready, server, is_over: false }))
            }
            None => body,
        })
    }
}

/// The body without a byte order mark at its beginning.
fn without_mark(body: Body) -> Body {
    let rest = |text: &Bytes| text.slice_ref(answer::without_mark(text));
    match body {
        Body::Full(text) => Body::Full(rest(&text)),
        Body::Begun(text, more) => Body::Begun(rest(&text), more),
        other => other,
    }
}

fn first_byte(body: &Body) -> Option<u8> {
    body.beginning().iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// Whether the body is one JSON value on each line, by its type.
fn is_lines(response: &Response<Body>) -> bool {
    headers::LINES_OF_JSON.iter().any(|kind| headers::is_type(response.headers(), kind))
}

/// An answer that passes, and what it turns out to be.
struct Watched {
    body: Body,
    passing: PassingAnswer,
    /// What goes on of the last piece.
    ready: VecDeque<Bytes>,
    server: ServerName,
    is_over: bool,
}

impl Through for Watched {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.passing.pass(&data, &mut self.ready);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.is_over = true;
                    if let Err(why) = self.passing.end() {
                        tracing::warn!(server = %self.server, "broke off a large answer: {why}");
                        return Poll::Ready(Some(Err(why.into())));
                    }
                }
            }
        }
    }
}
