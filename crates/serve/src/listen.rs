//! Connections: how many, for how long, and how they end.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, http::Request};
use hyper::{
    body::Incoming,
    server::conn::http1::{self, Parts},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tower::Service as _;

use crate::{ServeError, Settings, routes::router, service::Service};

/// The longest head of a request, in bytes.
const HEAD: usize = 64 << 10;
/// After an answer that came before the whole request, what still arrives is read for so long: a
/// connection that is closed over unread bytes is reset, and the answer lost.
const LINGER: Duration = Duration::from_secs(2);
/// When the last request is answered, connections have so long to be closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// After a connection could not be accepted, as when there are too many open files.
const PAUSE: Duration = Duration::from_millis(50);

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// Answers until SIGTERM or SIGINT; then lets what has begun be finished. A second signal ends at once.
pub(crate) async fn listen(
    listener: TcpListener,
    mut stop: Stop,
    service: Arc<Service>,
    settings: &Settings,
) -> Result<(), ServeError> {
    let (close, closing) = watch::channel(false);
    let mut connections = JoinSet::new();
    let finished = {
        let mut accepting = pin!(accept(&listener, &service, settings, closing, &mut connections));
        tokio::select! {
            () = &mut accepting => {}
            () = stop.asked() => {}
        }
        service.gate.close();
        // Health is still answered meanwhile, also on new connections.
        tokio::select! {
            () = &mut accepting => false,
            () = stop.asked() => false,
            finished = service.gate.empty(settings.grace) => finished,
        }
    };
    let _ = close.send(true);
    let _ = timeout(FAREWELL, async { while connections.join_next().await.is_some() {} }).await;
    match finished {
        true => Ok(()),
        false => Err(ServeError::CutOff),
    }
}

/// Takes in connections; does not end by itself.
async fn accept(
    listener: &TcpListener,
    service: &Arc<Service>,
    settings: &Settings,
    closing: watch::Receiver<bool>,
    connections: &mut JoinSet<()>,
) {
    let router = router(service.clone());
    let places = Arc::new(Semaphore::new(settings.connections));
    loop {
        // The place is taken first: connections beyond the bound wait in the system's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let metrics = service.metrics.clone();
        let (router, closing, patience) = (router.clone(), closing.clone(), settings.patience);
        connections.spawn(async move {
            metrics.connections.inc();
            connection(stream, router, patience, closing).await;
            metrics.connections.dec();
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What asks the server to end.
pub(crate) struct Stop(mpsc::Receiver<()>);

impl Stop {
    /// Each SIGTERM and each SIGINT asks, from now on.
    pub fn on_signals() -> io::Result<Self> {
        let (ask, asked) = mpsc::channel(1);
        for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
            let (mut signal, ask) = (signal(kind)?, ask.clone());
            tokio::spawn(async move { while signal.recv().await.is_some() && ask.send(()).await.is_ok() {} });
        }
        Ok(Self(asked))
    }

    /// Each message asks.
    #[cfg(test)]
    pub fn on_messages(asked: mpsc::Receiver<()>) -> Self {
        Self(asked)
    }

    async fn asked(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending().await
        }
    }
}

/// Answers the requests of one connection.
async fn connection(stream: TcpStream, router: Router, patience: Duration, mut closing: watch::Receiver<bool>) {
    // An answer that nobody takes is given up by the system.
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(patience));
    let _ = stream.set_nodelay(true);
    let answer = service_fn(move |request: Request<Incoming>| {
        let mut router = router.clone();
        Box::pin(async move { router.call(request.map(Body::new)).await })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let ended = tokio::select! {
        ended = poll_fn(|context| connection.poll_without_shutdown(context)) => Some(ended),
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|context| connection.poll_without_shutdown(context)).await
        }
    };
    let Parts { io, read_buf, .. } = connection.into_parts();
    let begun = !read_buf.is_empty();
    let late = ended.is_err_and(|error| error.is_timeout()) && begun;
    part(io.into_inner(), late).await;
}

/// Ends a connection so that its last answer arrives.
async fn part(mut stream: TcpStream, late: bool) {
    let farewell = async {
        if late {
            stream.write_all(LATE).await?;
        }
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = timeout(LINGER, farewell).await;
}
