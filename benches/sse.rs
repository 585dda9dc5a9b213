//! Speed of the codec for server-sent events.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mooring::protocol::sse::{EventDecoder, event};

fn codec(criterion: &mut Criterion) {
    for (name, size) in [("200 B", 200), ("64 KiB", 65_536)] {
        let message = format!("{{\"data\":\"{}\"}}", "x".repeat(size)).into_bytes();
        let encoded = event(&message);
        let mut group = criterion.benchmark_group(format!("event of {name}"));
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function("encode", |bencher| bencher.iter(|| event(&message)));
        group.bench_function("decode", |bencher| {
            let mut decoder = EventDecoder::new(1 << 20);
            let mut bytes = 0;
            bencher.iter(|| {
                let fed = decoder.feed(&encoded, |event| bytes += event.data.len());
                assert!(fed.is_ok());
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
