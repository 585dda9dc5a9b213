//! What stands between two processes, such as a sidecar or a firewall, with faults of its own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What becomes of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    #[default]
    None,
    /// Connections are accepted, and nothing passes, until the fault is over.
    Frozen,
    /// Connections are accepted and closed.
    Closing,
    /// Those that are open are closed, and the next one. Later ones pass.
    ClosingOnce,
    /// A connection that carries a request to a server is closed. The rest passes.
    BreakingCalls,
    /// Each piece takes so long, in each direction.
    Slow(Duration),
}

#[derive(Default)]
struct State {
    fault: Mutex<Fault>,
    changed: Condvar,
    open: Mutex<Vec<TcpStream>>,
}

impl State {
    fn locked(&self) -> MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while nothing passes; returns what may pass then.
    fn thawed(&self) -> Fault {
        let is_frozen = |fault: &mut Fault| *fault == Fault::Frozen;
        let fault = self.changed.wait_while(self.locked(), is_frozen);
        *fault.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a piece may pass. False if it may not.
    fn passes(&self, piece: &[u8]) -> bool {
        let fault = self.thawed();
        if let Fault::Slow(delay) = fault {
            std::thread::sleep(delay);
        }
        let is_call = || piece.starts_with(b"POST /cluster/servers/");
        fault != Fault::Closing && !(fault == Fault::BreakingCalls && is_call())
    }
}

/// Passes the bytes of each connection on to another address and back. Its threads end with the
/// test.
pub struct Relay {
    state: Arc<State>,
    address: SocketAddr,
}

impl Relay {
    #[must_use]
    pub fn to(port: u16) -> Self {
        Self::among(&[port])
    }

    /// To each of them in turn, and past one where nobody is, as a load balancer.
    #[must_use]
    pub fn among(ports: &[u16]) -> Self {
        let (ports, mut next) = (ports.to_vec(), 0);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                let mut ports = ports.clone();
                let first = next % ports.len();
                ports.rotate_left(first);
                next += 1;
                std::thread::spawn(move || connect(&state, stream, &ports));
            }
        });
        Self { state, address }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn fault(&self, fault: Fault) {
        *self.state.locked() = fault;
        self.state.changed.notify_all();
        if matches!(fault, Fault::Closing | Fault::ClosingOnce) {
            let mut open = self.state.open.lock().unwrap_or_else(PoisonError::into_inner);
            for stream in open.drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn connect(state: &Arc<State>, here: TcpStream, ports: &[u16]) {
    match state.thawed() {
        Fault::Closing => return,
        Fault::ClosingOnce => {
            *state.locked() = Fault::None;
            return;
        }
        Fault::None | Fault::Frozen | Fault::BreakingCalls | Fault::Slow(_) => {}
    }
    let mut ways = ports.iter().map(|port| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)));
    let Some(there) = ways.find_map(Result::ok) else { return };
    let both = [&here, &there].map(TcpStream::try_clone);
    let [Ok(to_here), Ok(to_there)] = both else { return };
    for stream in [&here, &there] {
        let _ = stream.set_nodelay(true);
        if let Ok(stream) = stream.try_clone() {
            state.open.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        }
    }
    let back = Arc::clone(state);
    std::thread::spawn(move || pass(&back, there, to_here));
    pass(state, here, to_there);
}

fn pass(state: &State, mut from: TcpStream, mut to: TcpStream) {
    let mut piece = [0; 16 * 1024];
    while let Ok(count) = from.read(&mut piece)
        && count > 0
        && state.passes(&piece[..count])
        && to.write_all(&piece[..count]).is_ok()
    {}
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
