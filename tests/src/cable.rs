//! A cable between a coordinator and a node, which a test cuts: what listens over it hears nothing
//! any more and is not told, and nobody gets through anew.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// How the request begins that asks a node for a server's stream.
const LISTENS: &[u8] = b"GET /cluster/servers/";
const CALLS: &[u8] = b"POST /cluster/servers/";

/// Passes bytes on while it is whole.
pub struct Cable {
    address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    to: Mutex<Option<SocketAddr>>,
    /// Nothing passes.
    is_silent: AtomicBool,
    /// And nobody is let in.
    is_over: AtomicBool,
    connections: Mutex<Vec<Arc<Joined>>>,
}

/// A connection through the cable.
struct Joined {
    caller: TcpStream,
    callee: TcpStream,
    /// Whether its last request is for a stream.
    listens: AtomicBool,
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

impl Cable {
    /// A cable that leads nowhere yet.
    #[must_use]
    pub fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let accepting = std::thread::spawn(move || {
            for caller in listener.incoming() {
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(caller) = caller {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.join(caller));
                }
            }
        });
        Self { address, state, accepting: Some(accepting) }
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn leads_to(&self, address: SocketAddr) {
        *self.state.to.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    /// Nothing passes from now on, and everybody is let in.
    pub fn silence(&self) {
        self.state.is_silent.store(true, Ordering::Release);
    }

    /// Nothing passes from now on. Connections break, but for those that wait for a stream or have
    /// one: these hear nothing. No new one is let in.
    pub fn cut(&mut self) {
        self.silence();
        self.close();
        let connections = self.state.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for joined in connections.iter().filter(|joined| !joined.listens.load(Ordering::Acquire)) {
            joined.end();
        }
    }

    fn close(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.state.is_over.store(true, Ordering::Release);
        // Wakes the thread that accepts, which closes the listener.
        drop(TcpStream::connect(self.address));
        let _ = accepting.join();
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.close();
        let connections = self.state.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.iter().for_each(|joined| joined.end());
    }
}

impl State {
    fn join(&self, caller: TcpStream) {
        let to = *self.to.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(callee) = to.and_then(|to| TcpStream::connect(to).ok()) else { return };
        let listens = AtomicBool::new(false);
        let joined = Arc::new(Joined { caller, callee, listens });
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::clone(&joined));
        drop(connections);
        std::thread::scope(|scope| {
            scope.spawn(|| self.pass(&joined, &joined.caller, &joined.callee));
            scope.spawn(|| self.pass(&joined, &joined.callee, &joined.caller));
        });
    }

    fn pass(&self, joined: &Joined, mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(read) = from.read(&mut buffer) {
            let bytes = &buffer[..read];
            let has = |what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
            if has(LISTENS) {
                joined.listens.store(true, Ordering::Release);
            } else if has(CALLS) {
                joined.listens.store(false, Ordering::Release);
            }
            if read > 0 && self.is_silent.load(Ordering::Acquire) {
                continue;
            }
            if read == 0 || to.write_all(bytes).is_err() {
                break;
            }
        }
        if !self.is_silent.load(Ordering::Acquire) {
            joined.end();
        }
    }
}

impl Joined {
    fn end(&self) {
        for stream in [&self.caller, &self.callee] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
