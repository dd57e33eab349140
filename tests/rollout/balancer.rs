//! What a Service is for its clients: one address, behind which a connection goes to one of the
//! gateways that are ready, as far as is known.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::support::http::try_request;
use crate::support::wait_until;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) smtp: SocketAddr,
    pub(crate) http: SocketAddr,
}

/// Ends with the value.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    /// All that have not ended.
    endpoints: Vec<Endpoint>,
    /// Those of them that were ready when they were last asked; the next connection goes to the first.
    ready: Vec<Endpoint>,
    refused: usize,
}

impl Balancer {
    pub(crate) fn start() -> Self {
        let runtime = Runtime::new().unwrap();
        let shared = Arc::<Mutex<Shared>>::default();
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime.block_on(bound).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(accept(listener, Arc::clone(&shared)));
        runtime.spawn(probe(Arc::clone(&shared)));
        Self {
            address,
            shared,
            _runtime: runtime,
        }
    }

    /// Waits until it is ready: from then on it gets connections.
    pub(crate) fn add(&self, endpoint: Endpoint) {
        self.shared.lock().unwrap().endpoints.push(endpoint);
        wait_until(|| self.shared.lock().unwrap().ready.contains(&endpoint));
    }

    /// Connections for which there was no gateway.
    pub(crate) fn refused(&self) -> usize {
        self.shared.lock().unwrap().refused
    }
}

async fn accept(listener: TcpListener, shared: Arc<Mutex<Shared>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(forward(client, Arc::clone(&shared)));
    }
}

async fn forward(mut client: TcpStream, shared: Arc<Mutex<Shared>>) {
    let next = {
        let ready = &mut shared.lock().unwrap().ready;
        let turn = 1.min(ready.len());
        ready.rotate_left(turn);
        ready.first().copied()
    };
    let connected = match next {
        Some(endpoint) => TcpStream::connect(endpoint.smtp).await.ok(),
        None => None,
    };
    let Some(mut gateway) = connected else {
        shared.lock().unwrap().refused += 1;
        return;
    };
    client.set_nodelay(true).unwrap();
    gateway.set_nodelay(true).unwrap();
    // Whoever ends first ends it for both; the clients count what that costs them.
    let _ = copy_bidirectional(&mut client, &mut gateway).await;
}

/// Asks each whether it is ready, as often as a kubelet may, and forgets those that are gone.
async fn probe(shared: Arc<Mutex<Shared>>) {
    loop {
        let endpoints = shared.lock().unwrap().endpoints.clone();
        for endpoint in endpoints {
            let asked = move || try_request(endpoint.http, "GET", "/health/ready", "", "");
            let status = spawn_blocking(asked)
                .await
                .unwrap()
                .map(|(status, ..)| status);
            let mut shared = shared.lock().unwrap();
            match status {
                Some(200) if shared.ready.contains(&endpoint) => {}
                Some(200) => shared.ready.push(endpoint),
                _ => shared.ready.retain(|ready| *ready != endpoint),
            }
            if status.is_none() {
                shared.endpoints.retain(|known| *known != endpoint);
            }
        }
        sleep(PROBE_PERIOD).await;
    }
}

pub(crate) const PROBE_PERIOD: Duration = Duration::from_millis(500);
