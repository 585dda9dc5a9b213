//! A proxy between coordinator and node, which accepts connections and closes them at once while it
//! is out of order.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Way {
    is_closed: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

pub struct Proxy {
    pub port: u16,
    way: Arc<Way>,
}

impl Proxy {
    pub fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let way = Arc::new(Way::default());
        let serving = Arc::clone(&way);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !serving.is_closed.load(Ordering::Relaxed) {
                    pass(&serving, stream, ([127, 0, 0, 1], port).into());
                }
            }
        });
        Self { port: own, way }
    }

    pub fn close(&self, is_closed: bool) {
        self.way.is_closed.store(is_closed, Ordering::Relaxed);
        if is_closed {
            for stream in self.way.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn pass(way: &Way, from: TcpStream, to: SocketAddr) {
    let Ok(to) = TcpStream::connect(to) else { return };
    for (one, other) in [(&from, &to), (&to, &from)] {
        let (Ok(one), Ok(other)) = (one.try_clone(), other.try_clone()) else { return };
        std::thread::spawn(move || copy(one, other));
    }
    way.open.lock().unwrap().extend([from, to]);
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = from.set_nodelay(true);
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
