//! Two connections to one Redis, and what is done when they fail: nothing here. Whoever asks learns
//! that the store is gone, at once while there is no connection, and connects again.

use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, ServerErrorKind, Value,
};

use crate::config::RedisUrl;
use crate::sync::Locked;

use super::super::StoreError;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest wait for an answer. A claim is waited for by a client; a store that needs longer is
/// treated as one that is gone.
const ANSWER: Duration = Duration::from_millis(500);
/// Questions that are under way at once.
const AT_ONCE: usize = 4096;

pub struct Connection {
    client: Result<Client, String>,
    open: ArcSwapOption<Both>,
    /// What the store had when it was connected last.
    generation: Locked<Option<String>>,
}

struct Both {
    questions: MultiplexedConnection,
    /// Waits for events, so that no question waits behind it.
    events: MultiplexedConnection,
}

impl Connection {
    pub fn to(url: &RedisUrl) -> Self {
        let client = client(url).map_err(|error| said(&error));
        Self { client, open: ArcSwapOption::empty(), generation: Locked::default() }
    }

    /// Opens both connections.
    pub async fn open(&self) -> Result<(), StoreError> {
        self.open.store(None);
        let client = self.client.as_ref().map_err(|why| StoreError::Refused(why.clone()))?;
        let opening = async {
            let questions = client.get_multiplexed_async_connection_with_config(&config()).await?;
            let events = client.get_multiplexed_async_connection_with_config(&config()).await?;
            Ok::<_, RedisError>((questions, events))
        };
        let silent = || StoreError::Gone(format!("no connection within {} s", CONNECT.as_secs()));
        let opened = tokio::time::timeout(CONNECT, opening).await.map_err(|_| silent())?;
        let (questions, events) = opened.map_err(|error| gone(&error))?;
        self.open.store(Some(Both { questions, events }.into()));
        Ok(())
    }

    /// Whether the store has what it had when it was connected.
    pub fn is_generation(&self, now: &str) -> bool {
        self.generation.lock().as_deref() == Some(now)
    }

    /// Notes what the store has now. Returns whether it had something else before.
    pub fn set_generation(&self, now: &str) -> bool {
        let before = self.generation.lock().replace(now.to_owned());
        before.is_some_and(|before| before != now)
    }

    pub async fn ask(&self, command: &Cmd) -> Result<Value, StoreError> {
        let both = self.open.load_full().ok_or_else(closed)?;
        let mut questions = both.questions.clone();
        let asking = questions.send_packed_command(command);
        let answered = tokio::time::timeout(ANSWER, asking).await.map_err(|_| slow(ANSWER));
        self.judged(answered.map(|answer| answer.and_then(given)))
    }

    pub async fn ask_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let both = self.open.load_full().ok_or_else(closed)?;
        let mut questions = both.questions.clone();
        let asking = questions.send_packed_commands(pipeline, 0, pipeline.len());
        let answered = tokio::time::timeout(ANSWER, asking).await.map_err(|_| slow(ANSWER));
        // A server that is no master any more, or still reads its file, says so for each question.
        let answered = answered.map(|answers| answers.and_then(none_for_all));
        self.judged(answered)
    }

    /// Asks what is answered after a time on purpose.
    pub async fn wait(&self, command: &Cmd, time: Duration) -> Result<Value, StoreError> {
        let both = self.open.load_full().ok_or_else(closed)?;
        let mut events = both.events.clone();
        let (asking, most) = (events.send_packed_command(command), time + ANSWER);
        let answered = tokio::time::timeout(most, asking).await.map_err(|_| slow(most));
        self.judged(answered.map(|answer| answer.and_then(given)))
    }

    /// After a failure that is not that of one question, nobody asks again before the store is
    /// connected again.
    fn judged<T>(
        &self,
        answered: Result<Result<T, RedisError>, StoreError>,
    ) -> Result<T, StoreError> {
        let failed = match answered {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => gone(&error),
            Err(silent) => silent,
        };
        if matches!(failed, StoreError::Gone(_)) {
            self.open.store(None);
        }
        Err(failed)
    }
}

fn client(url: &RedisUrl) -> Result<Client, RedisError> {
    let RedisUrl { host, port, is_tls, user, password, database } = url;
    let (host, port) = (host.clone(), *port);
    let address = match is_tls {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    };
    let mut settings = RedisConnectionInfo::default()
        .set_db((*database).into())
        // An ACL user needs no right to name itself.
        .set_skip_set_lib_name();
    if let Some(user) = user {
        settings = settings.set_username(user);
    }
    if let Some(password) = password {
        settings = settings.set_password(password.expose());
    }
    Client::open(address.into_connection_info()?.set_redis_settings(settings))
}

fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        // Each question has its own.
        .set_response_timeout(None)
        .set_concurrency_limit(AT_ONCE)
}

fn closed() -> StoreError {
    StoreError::Gone("it is not connected".to_owned())
}

fn slow(after: Duration) -> StoreError {
    StoreError::Gone(format!("no answer within {} ms", after.as_millis()))
}

/// What fails for one question alone is a refusal; after anything else the connection is none.
fn gone(error: &RedisError) -> StoreError {
    let of_one = [ServerErrorKind::ResponseError, ServerErrorKind::NoPerm];
    match error.kind() {
        ErrorKind::Server(kind) if of_one.contains(&kind) => StoreError::Refused(said(error)),
        ErrorKind::Extension => StoreError::Refused(said(error)),
        _ => StoreError::Gone(said(error)),
    }
}

/// The answer, unless it is a refusal. That a key has another type than ours is none: what somebody
/// else has written there is not read.
fn given(answer: Value) -> Result<Value, RedisError> {
    match answer {
        Value::ServerError(error) if error.code() != "WRONGTYPE" => Err(error.into()),
        answer => Ok(answer),
    }
}

/// The answers, unless one of them says that none could be given.
fn none_for_all(answers: Vec<Value>) -> Result<Vec<Value>, RedisError> {
    for answer in &answers {
        if let Value::ServerError(error) = answer {
            let error = RedisError::from(error.clone());
            if matches!(gone(&error), StoreError::Gone(_)) {
                return Err(error);
            }
        }
    }
    Ok(answers)
}

/// The error in words. None of them is the URL's password.
fn said(error: &RedisError) -> String {
    error.to_string()
}
