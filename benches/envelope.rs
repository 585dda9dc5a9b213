//! Reading a message's envelope and changing its tool's name, compared with parsing and writing a
//! `Value`.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mooring::protocol::jsonrpc::Envelope;
use mooring::protocol::splice::{self, RequestTarget};

fn message(text: usize) -> Bytes {
    format!(
        r#"{{"jsonrpc":"2.0","id":17,"method":"tools/call","params":{{"name":"server-echo","arguments":{{"text":"{}"}},"_meta":{{"progressToken":17}}}}}}"#,
        "x".repeat(text)
    )
    .into()
}

fn renamed(message: &Bytes) -> Option<Bytes> {
    let envelope = Envelope::parse(message).ok()?;
    let name = RequestTarget::of(envelope.params)?.name?;
    Some(splice::replace(message, splice::span(message, name)?, b"\"echo\""))
}

fn through_a_tree(message: &Bytes) -> Option<Vec<u8>> {
    let mut tree: serde_json::Value = serde_json::from_slice(message).ok()?;
    *tree.pointer_mut("/params/name")? = "echo".into();
    serde_json::to_vec(&tree).ok()
}

fn rewriting(criterion: &mut Criterion) {
    for (name, size) in [("320 B", 200), ("4 KiB", 4000), ("64 KiB", 65_000)] {
        let message = message(size);
        let mut group = criterion.benchmark_group(format!("rename a tool in {name}"));
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function("splice", |bencher| bencher.iter(|| renamed(&message)));
        group.bench_function("tree", |bencher| bencher.iter(|| through_a_tree(&message)));
        group.finish();
    }
}

criterion_group!(benches, rewriting);
criterion_main!(benches);
