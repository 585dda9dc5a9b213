// Requests to this gateway's API. Events are read with fetch, since EventSource cannot send a key.

const SILENCE = 15_000; // ms without a byte, after which a connection counts as broken
const LONGEST_PAUSE = 10_000; // ms between two attempts

const base = new URL("./", document.baseURI);
const storageName = `mooring-key ${base.pathname}`;
const keyHeader = document.documentElement.dataset.keyHeader || "authorization";

export function key() {
  return sessionStorage.getItem(storageName);
}

export function keep(value) {
  if (value) sessionStorage.setItem(storageName, value);
  else sessionStorage.removeItem(storageName);
}

function headers() {
  const value = key();
  if (!value) return {};
  const bearer = `Bearer ${value}`;
  return { authorization: bearer, [keyHeader]: bearer };
}

/** The `message` of a refusal, or its status. */
async function reason(response) {
  try {
    const body = await response.json();
    if (typeof body.message === "string") return body.message;
  } catch {
    // It is not of the gateway, but of a proxy in between.
  }
  return `HTTP status ${response.status}`;
}

export async function post(path, body) {
  const response = await fetch(new URL(path, base), {
    method: "POST",
    headers: { ...headers(), "content-type": "application/json" },
    body: JSON.stringify(body),
    cache: "no-store",
    redirect: "error",
  });
  if (!response.ok) throw new Error(await reason(response));
  return (await response.json()).data;
}

/**
 * Follows a stream of events, again and again, until the returned function is called.
 * `on` has `open`, `event(name, data)`, `lost(why)` and `refused(status, why)`.
 */
export function follow(path, on) {
  const stopping = new AbortController();
  let pause = 500;
  const run = async () => {
    while (!stopping.signal.aborted) {
      const why = await once(path, on, stopping.signal, () => { pause = 500; });
      if (stopping.signal.aborted || why === null) return;
      on.lost(why);
      await new Promise((resume) => setTimeout(resume, pause));
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  };
  run();
  return () => stopping.abort();
}

/** One connection. Returns why it has ended; null if there is no use in another one. */
async function once(path, on, stop, opened) {
  const quiet = new AbortController();
  let timer = setTimeout(() => quiet.abort(), SILENCE);
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => quiet.abort(), SILENCE);
  };
  try {
    const signal = AbortSignal.any([stop, quiet.signal]);
    const response = await fetch(new URL(path, base), {
      headers: { ...headers(), accept: "text/event-stream" },
      cache: "no-store",
      redirect: "error",
      signal,
    });
    if (response.status === 401 || response.status === 403) {
      on.refused(response.status, await reason(response));
      return null;
    }
    if (!response.ok) return await reason(response);
    opened();
    on.open();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return "the gateway has ended the stream";
      heard();
      text += value;
      const events = text.split("\n\n");
      text = events.pop();
      for (const event of events) deliver(event, on);
    }
  } catch (error) {
    if (quiet.signal.aborted) return "nothing has come for 15 s";
    return error instanceof TypeError ? "the gateway does not answer" : String(error.message);
  } finally {
    clearTimeout(timer);
  }
}

function deliver(event, on) {
  let name = "message";
  const data = [];
  for (const line of event.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    else if (line.startsWith("data: ")) data.push(line.slice(6));
  }
  if (data.length > 0) on.event(name, JSON.parse(data.join("\n")));
}
